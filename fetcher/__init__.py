"""The fetcher: reads batches from Kafka, calls Search Console within its quotas, and publishes the results."""

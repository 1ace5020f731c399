"""A Kafka broker, a PostgreSQL server and a Search Console simulator on one machine, and a pipeline that uses them."""

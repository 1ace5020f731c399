"""The outside world made small: a Kafka broker, a PostgreSQL server and a Search Console simulator."""

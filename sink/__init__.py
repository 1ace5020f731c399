"""The sink: writes rows to PostgreSQL once, however often they arrive."""

"""The ledger in PostgreSQL: which runs and pages were planned, and what became of each.

Every statement that writes `gsc.pages` is in `pages.sql`, every one that writes `gsc.runs` in `runs.sql`.
"""

"""Writes rows once, however often they arrive."""

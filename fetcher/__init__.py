"""Asks Search Console for pages, within its quotas."""

"""The producer: decides which pages are due, and publishes them."""

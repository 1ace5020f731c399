"""A simulator of Google's Search Console API; it shares no code with the client."""

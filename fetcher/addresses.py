"""Addresses that are read from settings and files, held against the client that will call them. Pure."""

import httpx

PORTS = range(1, 65536)


def problem_of_url(value: object) -> str | None:
    """Why the value is no http(s) address that httpx can call, or None."""
    if not isinstance(value, str):
        return "not text"
    try:
        url = httpx.URL(value)
        url.host.encode("idna")  # as the resolver will do it
    except (httpx.InvalidURL, UnicodeError) as error:
        return f"not a URL: {error}"
    if url.scheme not in ("http", "https") or not url.host or any(map(str.isspace, value)):
        return "not an address that begins with http:// or https:// and names a host, without blanks"
    if url.port is not None and url.port not in PORTS:
        return f"the port is not from {PORTS.start} to {PORTS.stop - 1}"
    return None

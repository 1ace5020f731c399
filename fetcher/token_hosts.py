"""The hosts to which a key file may send the secrets of a credential. Pure."""

import re
from collections.abc import Iterable

import httpx

from pipeline.settings import address_problem

GOOGLE = frozenset(
    f"https://{name}"
    for name in (
        "accounts.google.com",
        "www.googleapis.com",
        "oauth2.googleapis.com",
        "sts.googleapis.com",
        "iamcredentials.googleapis.com",
        "oauth2.mtls.googleapis.com",
        "sts.mtls.googleapis.com",
        "iamcredentials.mtls.googleapis.com",
    )
)
_ENTRY = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])")


class TokenHosts:
    """Google's hosts, and those that the operator has added: a key file may be a customer's, and name any host."""

    def __init__(self, added: Iterable[str] = ()) -> None:
        """`added`: names of hosts, for https; with `http://` before the name for http."""
        self._origins = GOOGLE | {_origin(entry) for entry in added}

    def problem(self, address: object) -> str | None:
        """Return why an address must not be called, or None. Its port and path do not matter."""
        if problem := address_problem(address):
            return problem
        url = httpx.URL(str(address))
        if f"{url.scheme}://{url.host}".lower() in self._origins:
            return None
        return "not one of Google's hosts over https; GSC_TOKEN_HOSTS allows others"


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the hosts of a list separated by commas. Raises ValueError for one that is not a host."""
    entries = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    for entry in entries:
        _origin(entry)
    return entries


def _origin(entry: str) -> str:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError(f"{entry!r} is not a host such as sts.example.com, or http://HOST for one without TLS")
    scheme, host = match.groups()
    return f"{scheme or 'https'}://{host.strip('[]')}".lower()

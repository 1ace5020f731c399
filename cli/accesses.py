"""Which credential reads which property, and its entry in a catalog. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from fetcher.search_console import UNVERIFIED
from pipeline.catalog import Credential, Property

_LEVELS = ("siteOwner", "siteFullUser", "siteRestrictedUser")
"""Permission levels that can read data, the highest first."""


class Listing(NamedTuple):
    """The properties in the list of a credential with permission levels, or why there is no list."""

    credential: Credential
    permissions: Mapping[str, str]
    problem: str | None = None


class Access(NamedTuple):
    """A property, and the credential with the highest permission level for it."""

    url: str
    credential: str
    permission: str


def accesses_of(listings: Sequence[Listing]) -> Iterator[Access]:
    """Yield each property once. Of credentials with the same level, the first reads it."""
    for url in sorted({url for listing in listings for url in listing.permissions}):
        accesses = [
            Access(url, listing.credential.id, listing.permissions[url])
            for listing in listings
            if url in listing.permissions
        ]
        yield min(accesses, key=lambda access: _rank(access.permission))


def _rank(permission: str) -> int:
    return _LEVELS.index(permission) if permission in _LEVELS else len(_LEVELS)


def problem_of(access: Access) -> str | None:
    """Return why a property cannot be an entry of the catalog, or None."""
    if access.permission == UNVERIFIED:
        return "its data cannot be read"
    try:
        Property(url=access.url, credential=access.credential)
    except ValidationError:
        return "gsc-stream does not read properties of this kind"
    return None


def readable(listings: Sequence[Listing]) -> list[str]:
    """Return the properties of a catalog of these listings that are not comments."""
    return [access.url for access in accesses_of(listings) if not problem_of(access)]


def entry_of(access: Access) -> str:
    """Return the entry of a property in the list of a catalog, with the permission level as a comment."""
    return f"{{url: {yaml_text(access.url)}, credential: {yaml_text(access.credential)}}}  # {access.permission}"


def yaml_text(value: str) -> str:
    """Return text as a quoted scalar: JSON's strings are YAML's."""
    return json.dumps(value, ensure_ascii=False)

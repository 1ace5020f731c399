"""A first catalog, with comments, from what credentials can read. Pure."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from cli.google import Listing
from fetcher.search_console import UNVERIFIED
from pipeline.catalog import Credential, Property
from pipeline.catalog_schema import ADDRESS
from pipeline.report import DEFAULT_REPORTS, Report

_LEVELS = ("siteOwner", "siteFullUser", "siteRestrictedUser")
"""Permission levels that can read data, the highest first."""
_HEAD = f"""\
# yaml-language-server: $schema={ADDRESS}
# The catalog of gsc-stream, written by `gsc-stream init`. The README describes every field.

# The Google accounts that read the properties. Paths are relative to this file.
credentials:
"""
_PROPERTIES = """
# The sites in Search Console, each with the credential that reads it, and its permission level.
# Remove those that are not to be copied.
properties:
"""
_REPORTS = """
# A report is a named set of dimensions with its search types, and becomes a view in PostgreSQL. Without this list,
# these are the reports; to change them, remove the comment signs.
# reports:
"""


class _Access(NamedTuple):
    """A property, and the credential with the highest permission level for it."""

    url: str
    credential: str
    permission: str


def draft_catalog(listings: Sequence[Listing], folder: Path) -> str:
    """Return the text of a catalog that lies in `folder`."""
    lines = [_HEAD]
    lines += [f"  - {_credential(listing.credential, folder)}\n" for listing in listings]
    lines += [_PROPERTIES, *(f"{_property(access)}\n" for access in _accesses(listings))]
    lines += [_REPORTS, *(f"#   - {_report(report)}\n" for report in DEFAULT_REPORTS)]
    return "".join(lines)


def readable(listings: Sequence[Listing]) -> list[str]:
    """Return the properties of a catalog of these listings that are not comments."""
    return [access.url for access in _accesses(listings) if not _problem(access)]


def _accesses(listings: Sequence[Listing]) -> Iterator[_Access]:
    """Yield each property once. Of credentials with the same level, the first reads it."""
    for url in sorted({url for listing in listings for url in listing.permissions}):
        accesses = [
            _Access(url, listing.credential.id, listing.permissions[url])
            for listing in listings
            if url in listing.permissions
        ]
        yield min(accesses, key=lambda access: _rank(access.permission))


def _rank(permission: str) -> int:
    return _LEVELS.index(permission) if permission in _LEVELS else len(_LEVELS)


def _problem(access: _Access) -> str | None:
    """Return why a property cannot be an entry of the catalog, or None."""
    if access.permission == UNVERIFIED:
        return "its data cannot be read"
    try:
        Property(url=access.url, credential=access.credential)
    except ValidationError:
        return "gsc-stream does not read properties of this kind"
    return None


def _credential(credential: Credential, folder: Path) -> str:
    start = f"id: {_text(credential.id)}, type: {credential.type}"
    if credential.file is None:
        return f"{{{start}}}"
    return f"{{{start}, file: {_text(os.path.relpath(credential.file.absolute(), folder.absolute()))}}}"


def _property(access: _Access) -> str:
    entry = f"- {{url: {_text(access.url)}, credential: {_text(access.credential)}}}  # {access.permission}"
    problem = _problem(access)
    return f"  # {entry}: {problem}" if problem else f"  {entry}"


def _report(report: Report) -> str:
    dimensions, types = ", ".join(report.dimensions), ", ".join(report.search_types)
    return f"{{name: {report.name}, dimensions: [{dimensions}], search_types: [{types}]}}"


def _text(value: str) -> str:
    """Return text as a quoted scalar: JSON's strings are YAML's."""
    return json.dumps(value, ensure_ascii=False)

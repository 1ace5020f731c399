"""A first catalog, with comments, from what credentials can read. Pure."""

import os
from collections.abc import Sequence
from pathlib import Path

from cli.accesses import Access, Listing, accesses_of, entry_of, problem_of, yaml_text
from pipeline.catalog import Credential
from pipeline.catalog_schema import ADDRESS
from pipeline.report import DEFAULT_REPORTS, Report

_HEAD = f"""\
# yaml-language-server: $schema={ADDRESS}
# The catalog of gsc-stream, written by `gsc-stream init`. Every field is described in
# https://github.com/gsc-stream/gsc-stream/blob/main/docs/catalog.md

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


def draft_catalog(listings: Sequence[Listing], folder: Path) -> str:
    """Return the text of a catalog that lies in `folder`."""
    lines = [_HEAD]
    lines += [f"  - {_credential(listing.credential, folder)}\n" for listing in listings]
    lines += [_PROPERTIES, *(f"{_property(access)}\n" for access in accesses_of(listings))]
    lines += [_REPORTS, *(f"#   - {_report(report)}\n" for report in DEFAULT_REPORTS)]
    return "".join(lines)


def _credential(credential: Credential, folder: Path) -> str:
    start = f"id: {yaml_text(credential.id)}, type: {credential.type}"
    if credential.file is None:
        return f"{{{start}}}"
    return f"{{{start}, file: {yaml_text(os.path.relpath(credential.file.absolute(), folder.absolute()))}}}"


def _property(access: Access) -> str:
    problem = problem_of(access)
    return f"  # - {entry_of(access)}: {problem}" if problem else f"  - {entry_of(access)}"


def _report(report: Report) -> str:
    dimensions, types = ", ".join(report.dimensions), ", ".join(report.search_types)
    return f"{{name: {report.name}, dimensions: [{dimensions}], search_types: [{types}]}}"

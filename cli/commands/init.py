"""`gsc-stream init`: write a first catalog."""

import re
from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import ValidationError

from cli.accesses import Listing, readable
from cli.catalog_draft import draft_catalog
from cli.context import fail, read_environment, run
from cli.google import list_properties
from cli.options import json_option
from cli.output import print_json
from fetcher.credential_file import type_of_key_file
from fetcher.settings import GoogleSettings
from pipeline.catalog import Credential
from pipeline.catalog_fields import repeated
from pipeline.errors import Invalid

_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+")


@click.command()
@click.argument("key_files", metavar="KEY_FILE...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--application-default", is_flag=True, help="Use Application Default Credentials, besides key files or alone."
)
@click.option(
    "--catalog",
    envvar="GSC_CATALOG",
    default="catalog.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="File to write; it must not exist.",
)
@json_option
def init(key_files: tuple[Path, ...], application_default: bool, catalog: Path, as_json: bool) -> None:
    """Write a catalog with the properties that key files can read, and with comments.

    The name of a key file becomes the id of its credential. When a list of properties cannot be read, nothing is
    written.

    \b
    Example:
      gsc-stream init acme.json --catalog catalog.yaml
    """
    settings = read_environment(GoogleSettings)
    if catalog.exists():
        fail(f"--catalog: {catalog} exists, and is not overwritten", field="--catalog")
    listings = run(list_properties(settings, _credentials(key_files, application_default=application_default)))
    if problems := [listing.problem for listing in listings if listing.problem]:
        fail("\n".join(problems))
    _write(catalog, listings)
    urls = readable(listings)
    if as_json:
        print_json({"catalog": str(catalog), "properties": urls})
    else:
        click.echo(f"{catalog}: {len(urls)} properties of {len(listings)} credentials. Next: gsc-stream check")


def _credentials(key_files: Sequence[Path], *, application_default: bool) -> list[Credential]:
    """Return a credential for each key file; exit with 2 for one that cannot be used."""
    if not key_files and not application_default:
        fail("KEY_FILE: missing; name a key file, or use --application-default", field="KEY_FILE")
    try:
        credentials = [_credential(file) for file in key_files]
    except Invalid as error:
        fail(f"KEY_FILE: {error}", field="KEY_FILE")
    if application_default:
        credentials.append(Credential(id="default", type="application_default"))
    for _, id_ in repeated(credential.id for credential in credentials):
        fail(f"KEY_FILE: two credentials would have the id {id_!r}; rename a key file", field="KEY_FILE")
    return credentials


def _credential(file: Path) -> Credential:
    """Return the credential of a key file, with the file's name as its id. Raises Invalid."""
    kind, id_ = type_of_key_file(file), _FORBIDDEN.sub("-", file.stem).strip("-")
    try:
        return Credential.model_validate({"id": id_, "type": kind, "file": file.absolute()})
    except ValidationError as error:
        raise Invalid(f"{file}: the name of the file cannot be an id; rename it") from error


def _write(catalog: Path, listings: Sequence[Listing]) -> None:
    """Write the catalog; exit with 2 when no property can be read, or the file cannot be created."""
    if not readable(listings):
        ids = ", ".join(listing.credential.id for listing in listings)
        fail(f"no property can be read by {ids}: add its e-mail address as a user of the property in Search Console")
    try:
        with catalog.open("x", encoding="utf-8") as file:
            file.write(draft_catalog(listings, catalog.parent))
    except OSError as error:
        fail(f"--catalog: {catalog}: {error.strerror}", field="--catalog")

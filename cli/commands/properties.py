"""`gsc-stream properties`: what each credential can read."""

from collections.abc import Iterator

import click

from cli.context import load_catalog, read_environment, run
from cli.google import Listing, list_properties
from cli.options import json_option
from cli.output import print_json, print_table
from fetcher.settings import GoogleSettings
from pipeline.catalog import Catalog
from pipeline.process import EXIT_FAILED
from pipeline.settings import CatalogSettings

_COLUMNS = ("credential", "property", "permission", "catalog_credential")


class PropertiesSettings(GoogleSettings, CatalogSettings):
    """The settings of the command."""


@click.command()
@json_option
def properties(as_json: bool) -> None:
    """List the properties that each credential of the catalog can read, with permission levels.

    The column catalog_credential is the credential that the catalog gives the property; it is empty for a property that
    the catalog does not have. Exit 1 if the list of a credential cannot be read.

    \b
    Example: gsc-stream properties --json
    """
    settings = read_environment(PropertiesSettings)
    catalog = load_catalog(settings)
    listings = run(list_properties(settings, catalog.credentials))
    records = [record for listing in listings for record in _records(listing, catalog)]
    problems = [
        {"credential": listing.credential.id, "problem": listing.problem} for listing in listings if listing.problem
    ]
    if as_json:
        print_json({"properties": records, "problems": problems})
    else:
        rows = [[record[name] for name in _COLUMNS] for record in records]
        print_table("Properties", _COLUMNS, rows, empty="No credential can read a property.")
        for problem in problems:
            click.echo(problem["problem"], err=True)
    raise SystemExit(EXIT_FAILED if problems else 0)


def _records(listing: Listing, catalog: Catalog) -> Iterator[dict[str, str | None]]:
    for url, permission in sorted(listing.permissions.items()):
        item = catalog.property_by_url.get(url)
        values = (listing.credential.id, url, permission, item.credential if item else None)
        yield dict(zip(_COLUMNS, values, strict=True))

"""`gsc-stream properties`: what each credential can read."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import click

from cli.accesses import Listing, accesses_of, entry_of, problem_of
from cli.context import fail, load_catalog, read_environment, run
from cli.google import list_properties
from cli.options import json_option
from cli.output import print_json, print_table
from fetcher.settings import GoogleSettings
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_additions import add_properties
from pipeline.process import EXIT_FAILED
from pipeline.settings import CatalogSettings

_COLUMNS = ("credential", "property", "permission", "catalog_credential")


class Patterns(NamedTuple):
    """Shell patterns of URLs. Without a pattern to include, all are."""

    include: Sequence[str]
    exclude: Sequence[str]

    def match(self, url: str) -> bool:
        """Return whether a property is to be added."""
        included = not self.include or any(fnmatchcase(url, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(url, pattern) for pattern in self.exclude)


class PropertiesSettings(GoogleSettings, CatalogSettings):
    """The settings of the command."""


@click.command()
@click.option("--add", is_flag=True, help="Add to the catalog the properties that it does not have.")
@click.option(
    "--include", multiple=True, help="With --add: only these, as a pattern such as 'sc-domain:*'. Can be repeated."
)
@click.option("--exclude", multiple=True, help="With --add: not these, such as 'http://*'. Can be repeated.")
@json_option
def properties(add: bool, include: tuple[str, ...], exclude: tuple[str, ...], as_json: bool) -> None:
    """List the properties that each credential of the catalog can read, with permission levels.

    The column catalog_credential is the credential that the catalog gives the property; it is empty for a property that
    the catalog does not have. Exit 1 if the list of a credential cannot be read.

    With --add, such properties become entries of the catalog file, whose comments stay; running services reload it.

    \b
    Examples:
      gsc-stream properties --json
      gsc-stream properties --add --exclude 'http://*'
    """
    if (include or exclude) and not add:
        fail("--include and --exclude need --add", field="--add")
    settings = read_environment(PropertiesSettings)
    catalog = load_catalog(settings)
    listings = run(list_properties(settings, catalog.credentials))
    added = _add(settings, catalog, listings, Patterns(include, exclude)) if add else []
    records = [record for listing in listings for record in _records(listing, catalog)]
    problems = [
        {"credential": listing.credential.id, "problem": listing.problem} for listing in listings if listing.problem
    ]
    if as_json:
        print_json({"properties": records, "problems": problems, "added": added})
    elif add:
        click.echo(f"{settings.catalog}: added {', '.join(added) or 'nothing'}")
    else:
        rows = [[record[name] for name in _COLUMNS] for record in records]
        print_table("Properties", _COLUMNS, rows, empty="No credential can read a property.")
    for problem in () if as_json else problems:
        click.echo(problem["problem"], err=True)
    raise SystemExit(EXIT_FAILED if problems else 0)


def _add(settings: PropertiesSettings, catalog: Catalog, listings: Sequence[Listing], patterns: Patterns) -> list[str]:
    """Add new properties to the catalog file, and return their URLs; exit with 2 when the file cannot be changed."""
    new = [
        access
        for access in accesses_of(listings)
        if access.url not in catalog.property_by_url and patterns.match(access.url) and not problem_of(access)
    ]
    try:
        add_properties(settings.catalog, [entry_of(access) for access in new])
    except CatalogError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{settings.catalog}: {error.strerror}")
    return [access.url for access in new]


def _records(listing: Listing, catalog: Catalog) -> Iterator[dict[str, str | None]]:
    for url, permission in sorted(listing.permissions.items()):
        item = catalog.property_by_url.get(url)
        values = (listing.credential.id, url, permission, item.credential if item else None)
        yield dict(zip(_COLUMNS, values, strict=True))

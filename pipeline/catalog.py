"""The catalog: which credentials read which properties, and which reports are kept of them. Pure."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from pipeline.contracts.messages import DataState, SearchType
from pipeline.contracts.reports import DIMENSIONS, SEARCH_TYPES, illegal_combination
from pipeline.settings import QueriesPerMinute

T = TypeVar("T")


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    """Not a minimum length, which pydantic would also report for a list whose only item is invalid."""
    if not items:
        raise ValueError("must not be empty")
    return items


def _unique(items: tuple[T, ...]) -> tuple[T, ...]:
    if duplicates := [item for number, item in enumerate(items) if item in items[:number]]:
        raise ValueError(f"{duplicates[0]!r} appears twice")
    return items


def _site(url: str) -> str:
    if not re.fullmatch(r"sc-domain:[^\s\x00-\x1f\x7f-\x9f/]+|https?://[^\s\x00-\x1f\x7f-\x9f]+/", url):
        raise ValueError("must be sc-domain:NAME, or an http(s) address that ends with a slash and has no blanks")
    return url


NotEmpty = AfterValidator(_not_empty)
Unique = AfterValidator(_unique)
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ReportName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,50}$")]

TABLES = frozenset({"runs", "pages", "days", "series", "facts", "parked_chunks", "migrations", "replays"})
"""Tables of the schema. A report becomes a view there, so it cannot have one of these names."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Credential(_Strict):
    """A Google account that reads properties. `file` is its JSON file as issued by Google, relative to the catalog.

    `external_account` is workload identity federation: the file has no secret, but the path of the platform's token.
    """

    id: Identifier
    type: Literal["service_account", "authorized_user", "external_account"]
    file: Path
    user_qpm: QueriesPerMinute | None = None
    _place: str = PrivateAttr("")

    @property
    def file_field(self) -> str:
        """The name of the field `file` in errors, with the path and line of the catalog if it was read from a file."""
        return f"{self._place}credentials.{self.id}.file"

    def located_at(self, path: Path, line: int) -> "Credential":
        """Return the credential as an entry of the catalog at `path`, to which its file is relative."""
        located = self.model_copy(update={"file": (path.parent / self.file).absolute()})
        located._place = f"{path}:{line}: "  # noqa: SLF001 - of the same class
        return located


class Report(_Strict):
    """A named set of dimensions with its search types."""

    name: ReportName
    search_types: Annotated[tuple[SearchType, ...], NotEmpty, Unique] = ("web",)
    data_state: DataState = "final"
    retention: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days to keep; None: all."""
    dimensions: Annotated[tuple[str, ...], NotEmpty, Unique]

    @field_validator("name")
    @classmethod
    def _not_a_table(cls, name: str) -> str:
        if name in TABLES or name.startswith("facts_"):
            raise ValueError(f"{name!r} is the name of a table")
        return name

    @field_validator("dimensions")
    @classmethod
    def _legal(cls, dimensions: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        """Checked last. `others` are the fields above that are valid."""
        if unknown := [name for name in dimensions if name not in DIMENSIONS]:
            raise ValueError(f"unknown dimension {unknown[0]!r}; known: {', '.join(DIMENSIONS)}")
        if {"search_types", "data_state"} <= others.data.keys():
            problem = illegal_combination(dimensions, others.data["search_types"], others.data["data_state"])
            if problem:
                raise ValueError(problem)
        return dimensions


DEFAULT_REPORTS = (
    Report(name="by_date", dimensions=("date",), search_types=SEARCH_TYPES),
    Report(name="by_country", dimensions=("date", "country")),
    Report(name="by_device", dimensions=("date", "device")),
    Report(name="by_page", dimensions=("date", "page")),
    Report(name="by_query", dimensions=("date", "query")),
    Report(name="page_query", dimensions=("date", "query", "page", "country", "device")),
)
"""The reports of a catalog without `reports`: the streams that other tools offer."""


class Property(_Strict):
    """A site in Search Console, exactly as the API spells it."""

    url: Annotated[str, Field(max_length=2048), AfterValidator(_site)]
    credential: Identifier
    reports: Annotated[tuple[ReportName, ...], NotEmpty, Unique] | None = None
    site_qpm: QueriesPerMinute | None = None


class Catalog(_Strict):
    """A valid catalog: every reference in it resolves."""

    credentials: Annotated[tuple[Credential, ...], NotEmpty]
    properties: Annotated[tuple[Property, ...], NotEmpty]
    reports: Annotated[tuple[Report, ...], NotEmpty] = DEFAULT_REPORTS

    @cached_property
    def credential_by_id(self) -> Mapping[str, Credential]:
        """Credentials by id."""
        return {credential.id: credential for credential in self.credentials}

    @cached_property
    def property_by_url(self) -> Mapping[str, Property]:
        """Properties by url."""
        return {item.url: item for item in self.properties}

    @cached_property
    def report_by_name(self) -> Mapping[str, Report]:
        """Reports by name."""
        return {report.name: report for report in self.reports}

    def unknown_scope(self, scope: str) -> str | None:
        """Return what a halt scope names and the catalog lacks, such as `property 'sc-domain:typo.com'`, or None."""
        kind, _, name = scope.partition(":")
        known = {"credential": self.credential_by_id, "property": self.property_by_url}.get(kind)
        return None if known is None or name in known else f"{kind} {name!r}"

    def reports_of(self, item: Property) -> tuple[Report, ...]:
        """Return the reports of a property in the catalog's order."""
        if item.reports is None:
            return self.reports
        return tuple(report for report in self.reports if report.name in item.reports)


class CatalogError(Exception):
    """What is wrong with the catalog or with a file that it names, one line per problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

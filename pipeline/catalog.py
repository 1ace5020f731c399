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


def _some(items: tuple[T, ...]) -> tuple[T, ...]:
    """Not a length: that would be told of what is left when an item is wrong, too."""
    if not items:
        raise ValueError("none are given")
    return items


def _once(items: tuple[T, ...]) -> tuple[T, ...]:
    if twice := [item for number, item in enumerate(items) if item in items[:number]]:
        raise ValueError(f"{twice[0]!r} is given twice")
    return items


def _site(url: str) -> str:
    if not re.fullmatch(r"sc-domain:[^\s\x00-\x1f\x7f-\x9f/]+|https?://[^\s\x00-\x1f\x7f-\x9f]+/", url):
        raise ValueError("neither sc-domain:NAME nor an http(s) address with a slash at its end, without blanks")
    return url


Some = AfterValidator(_some)
Once = AfterValidator(_once)
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ReportName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,50}$")]

TABLES = frozenset({"runs", "pages", "days", "series", "facts", "parked_chunks", "migrations", "replays"})
"""Relations of the schema that a report, being a view there, cannot be named like."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Credential(_Strict):
    """A Google user that reads properties; `file` is its JSON as Google hands it out, relative to the catalog.

    `external_account` is workload identity federation: the file has no secret, it names where the platform's token is.
    """

    id: Identifier
    type: Literal["service_account", "authorized_user", "external_account"]
    file: Path
    user_qpm: QueriesPerMinute | None = None
    _place: str = PrivateAttr("")

    @property
    def file_field(self) -> str:
        """What to name when the file is wrong: its field, with the catalog and the line if it was read from one."""
        return f"{self._place}credentials.{self.id}.file"

    def found_at(self, path: Path, line: int) -> "Credential":
        """The same, as an entry of the catalog at `path`, to which its file is relative."""
        found = self.model_copy(update={"file": (path.parent / self.file).absolute()})
        found._place = f"{path}:{line}: "  # noqa: SLF001 - of the same class
        return found


class Report(_Strict):
    """A named set of dimensions with its search types."""

    name: ReportName
    search_types: Annotated[tuple[SearchType, ...], Some, Once] = ("web",)
    data_state: DataState = "final"
    retention: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days that are kept; None: all."""
    dimensions: Annotated[tuple[str, ...], Some, Once]

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in TABLES or name.startswith("facts_"):
            raise ValueError(f"{name!r} is a table of gsc-stream's own")
        return name

    @field_validator("dimensions")
    @classmethod
    def _legal(cls, dimensions: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        """Checked last, with the fields above; one of them that is wrong was told, and is not among them."""
        if unknown := [name for name in dimensions if name not in DIMENSIONS]:
            raise ValueError(f"unknown {unknown[0]!r}; known: {', '.join(DIMENSIONS)}")
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
"""What is kept when the catalog names no reports: the streams that other tools offer."""


class Property(_Strict):
    """A site in Search Console, exactly as the API spells it."""

    url: Annotated[str, Field(max_length=2048), AfterValidator(_site)]
    credential: Identifier
    reports: Annotated[tuple[ReportName, ...], Some, Once] | None = None
    site_qpm: QueriesPerMinute | None = None


class Catalog(_Strict):
    """The whole file; every reference in it resolves."""

    credentials: Annotated[tuple[Credential, ...], Some]
    properties: Annotated[tuple[Property, ...], Some]
    reports: Annotated[tuple[Report, ...], Some] = DEFAULT_REPORTS

    @cached_property
    def credential_by_id(self) -> Mapping[str, Credential]:
        """Credentials by their id."""
        return {credential.id: credential for credential in self.credentials}

    @cached_property
    def property_by_url(self) -> Mapping[str, Property]:
        """Properties by their url."""
        return {item.url: item for item in self.properties}

    @cached_property
    def report_by_name(self) -> Mapping[str, Report]:
        """Reports by their name."""
        return {report.name: report for report in self.reports}

    def unknown_scope(self, scope: str) -> str | None:
        """What a halt scope names that the catalog does not have, such as `property 'sc-domain:typo.com'`; or None."""
        kind, _, name = scope.partition(":")
        known = {"credential": self.credential_by_id, "property": self.property_by_url}.get(kind)
        return None if known is None or name in known else f"{kind} {name!r}"

    def reports_of(self, item: Property) -> tuple[Report, ...]:
        """The reports kept of a property, in the catalog's order."""
        if item.reports is None:
            return self.reports
        return tuple(report for report in self.reports if report.name in item.reports)


class CatalogError(Exception):
    """What is wrong with the catalog, or with a file that it names, a line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

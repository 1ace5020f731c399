"""The catalog: credentials, the properties that they read, and the reports kept for each property. Pure."""

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.contracts.messages import (
    DEFAULT_PROJECT,
    AggregationType,
    DataState,
    Filter,
    FilterDimension,
    FilterOperator,
    SearchType,
    Selection,
)
from pipeline.contracts.reports import DIMENSIONS, SEARCH_TYPES, illegal_combination
from pipeline.contracts.text import did_you_mean
from pipeline.report_presets import PRESETS
from pipeline.settings import QueriesPerMinute

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

_PROPERTY_URL = re.compile(r"sc-domain:[^\s\x00-\x1f\x7f-\x9f/]+|https?://[^\s\x00-\x1f\x7f-\x9f]+/")


def repeated(items: Iterable[H]) -> Iterator[tuple[int, H]]:
    """Yield each item that equals an earlier one, with its index."""
    seen: set[H] = set()
    for index, item in enumerate(items):
        if item in seen:
            yield index, item
        seen.add(item)


def _check_not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    # `Field(min_length=1)` counts valid items only, and so reports a list whose only item is wrong a second time.
    if not items:
        raise ValueError("must not be empty")
    return items


def _check_unique(items: tuple[H, ...]) -> tuple[H, ...]:
    for _, item in repeated(items):
        raise ValueError(f"{item!r} is repeated")
    return items


def _check_preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"unknown preset{did_you_mean(name, PRESETS) or '; docs/compatibility.md lists them'}")
    return name


def _check_property_url(url: str) -> str:
    if not _PROPERTY_URL.fullmatch(url):
        raise ValueError("must be sc-domain:NAME, or an http(s) URL that ends with a slash, without blanks")
    return url


NotEmpty = AfterValidator(_check_not_empty)
Unique = AfterValidator(_check_unique)
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ReportName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,50}$")]

TABLES = frozenset(
    {
        "runs", "pages", "days", "series", "facts", "parked_chunks", "migrations", "replays",
        "freshness", "coverage", "searchdata_site_impression", "searchdata_url_impression",
    }
)  # fmt: skip
"""Tables and views of the schema `gsc`. A report is a view in the same schema, so it cannot have one of these names."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


CredentialType = Literal["service_account", "authorized_user", "external_account", "application_default"]


class Credential(_Strict):
    """A Google account that reads properties.

    `external_account` is workload identity federation: its file holds no secret, but the place of the platform's token.
    `application_default` has no file: Google's library finds the credentials in the environment of each process.
    """

    id: Identifier
    type: CredentialType
    file: Annotated[Path | None, Field(validate_default=True)] = None
    """The key file as Google issues it."""
    subject: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)] | None = None
    """The e-mail address of the user for whom a service account with domain-wide delegation acts."""
    project: Identifier = DEFAULT_PROJECT
    """The Google Cloud project whose quota its calls use."""
    user_qpm: QueriesPerMinute | None = None
    _place: str = PrivateAttr("")

    @field_validator("file")
    @classmethod
    def _check_file(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        kind = info.data.get("type")
        if kind == "application_default" and file is not None:
            raise ValueError("a credential of type application_default has no key file")
        if kind not in (None, "application_default") and file is None:
            raise ValueError(f"missing; a credential of type {kind} has a key file")
        return file

    @field_validator("subject")
    @classmethod
    def _check_subject(cls, subject: str | None, info: ValidationInfo) -> str | None:
        if subject is not None and info.data.get("type") != "service_account":
            raise ValueError("only a credential of type service_account acts for a subject")
        return subject

    @property
    def key_field(self) -> str:
        """The field that says where the key is, after the catalog's path and line if they are known."""
        return f"{self._place}credentials.{self.id}.{'type' if self.file is None else 'file'}"

    def is_same_key(self, other: "Credential") -> bool:
        """Return whether another entry means the same account and key file, wherever it stands in the catalog."""
        return (self.type, self.file, self.subject) == (other.type, other.file, other.subject)

    def located_at(self, path: Path, line: int) -> "Credential":
        """Return a copy that is an entry of the catalog at `path`: `file` is resolved against the catalog's folder."""
        file = None if self.file is None else (path.parent / self.file).absolute()
        copy = self.model_copy(update={"file": file})
        copy._place = f"{path}:{line}: "  # noqa: SLF001 - of the same class
        return copy


class Project(_Strict):
    """A Google Cloud project, with its own quota in queries a minute."""

    qpm: QueriesPerMinute | None = None


class ReportFilter(_Strict):
    """A condition on the value of a dimension."""

    dimension: FilterDimension
    operator: FilterOperator = "equals"
    expression: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class Report(_Strict):
    """A named set of dimensions with its search types."""

    preset: Annotated[str, AfterValidator(_check_preset)] | None = None
    """A stream of another connector, whose fields are the defaults of those below."""
    name: ReportName
    search_types: Annotated[tuple[SearchType, ...], NotEmpty, Unique] = ("web",)
    data_state: DataState = "final"
    retention: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """The number of days to keep. None keeps all."""
    filters: Annotated[tuple[ReportFilter, ...], Unique] = ()
    """All of them must hold."""
    aggregation_type: AggregationType = "auto"
    row_limit: Annotated[int, Field(ge=1, le=25_000)] | None = None
    """How many rows of a day are fetched, those with the most clicks. None fetches all that Google lists."""
    dimensions: Annotated[tuple[str, ...], NotEmpty, Unique]

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, fields: Any) -> Any:
        """Return the fields with those of the preset. An unknown preset has an error of its own, and no other."""
        if not isinstance(fields, dict) or "preset" not in fields:
            return fields
        return {"name": "unknown", "dimensions": ("date",)} | dict(PRESETS.get(str(fields["preset"]), {})) | fields

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name in TABLES or name.startswith("facts_"):
            raise ValueError(f"{name!r} is the name of a table or view of gsc-stream")
        return name

    @field_validator("dimensions")
    @classmethod
    def _check_combination(cls, dimensions: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Check the dimensions with the fields above, unless one of those is wrong: its own error is reported."""
        if unknown := [name for name in dimensions if name not in DIMENSIONS]:
            raise ValueError(f"unknown dimension {unknown[0]!r}; known: {', '.join(DIMENSIONS)}")
        if {"search_types", "data_state", "filters", "aggregation_type"} <= info.data.keys():
            selection = _selection(info.data["filters"], info.data["aggregation_type"], None)
            problem = illegal_combination(dimensions, info.data["search_types"], info.data["data_state"], selection)
            if problem:
                raise ValueError(problem)
        return dimensions

    @cached_property
    def selection(self) -> Selection:
        """Which rows are fetched, as batches have it."""
        return _selection(self.filters, self.aggregation_type, self.row_limit)


def _selection(filters: Iterable[ReportFilter], aggregation_type: AggregationType, row_limit: int | None) -> Selection:
    conditions = tuple(Filter(**item.model_dump()) for item in filters)
    return Selection(filters=conditions, aggregation_type=aggregation_type, row_limit=row_limit)


DEFAULT_REPORTS = (
    Report(name="by_date", dimensions=("date",), search_types=SEARCH_TYPES),
    Report(name="by_country", dimensions=("date", "country")),
    Report(name="by_device", dimensions=("date", "device")),
    Report(name="by_page", dimensions=("date", "page")),
    Report(name="by_query", dimensions=("date", "query")),
    Report(name="page_query", dimensions=("date", "query", "page", "country", "device")),
    Report(name="discover_by_page", dimensions=("date", "page", "country"), search_types=("discover",)),
    Report(name="news_by_page", dimensions=("date", "page", "country"), search_types=("news", "googleNews")),
)
"""The reports of a catalog that names none: the streams that other Search Console connectors offer."""


class Property(_Strict):
    """A site in Search Console. `url` is spelled as the API spells it."""

    url: Annotated[str, Field(max_length=2048), AfterValidator(_check_property_url)]
    credential: Identifier
    reports: Annotated[tuple[ReportName, ...], NotEmpty, Unique] | None = None
    """Names of reports. None means all reports of the catalog."""
    site_qpm: QueriesPerMinute | None = None


class Catalog(_Strict):
    """All credentials, properties and reports. `read_catalog` checks that every reference resolves."""

    credentials: Annotated[tuple[Credential, ...], NotEmpty]
    properties: Annotated[tuple[Property, ...], NotEmpty]
    reports: Annotated[tuple[Report, ...], NotEmpty] = DEFAULT_REPORTS
    projects: Mapping[Identifier, Project] = Field(default_factory=dict)
    """Google Cloud projects by id. Only those with a quota of their own need an entry."""

    @cached_property
    def credential_by_id(self) -> Mapping[str, Credential]:
        """Credentials by id."""
        return {credential.id: credential for credential in self.credentials}

    @cached_property
    def project_by_credential(self) -> Mapping[str, str]:
        """The id of each credential's Google Cloud project."""
        return {credential.id: credential.project for credential in self.credentials}

    @cached_property
    def property_by_url(self) -> Mapping[str, Property]:
        """Properties by URL."""
        return {item.url: item for item in self.properties}

    @cached_property
    def report_by_name(self) -> Mapping[str, Report]:
        """Reports by name."""
        return {report.name: report for report in self.reports}

    def unknown_scope(self, scope: str) -> str | None:
        """Return the project, credential or property of a halt scope if the catalog lacks it, else None.

        The text is such as `property 'sc-domain:typo.com'; did you mean 'sc-domain:type.com'?`.
        """
        kind, _, name = scope.partition(":")
        names: Mapping[str, Collection[str]] = {
            "project": set(self.project_by_credential.values()),
            "credential": self.credential_by_id,
            "property": self.property_by_url,
        }
        known = names.get(kind)
        return None if known is None or name in known else f"{kind} {name!r}{did_you_mean(name, known)}"

    def reports_of(self, item: Property) -> tuple[Report, ...]:
        """Return the reports kept for a property, in the catalog's order."""
        if item.reports is None:
            return self.reports
        return tuple(report for report in self.reports if report.name in item.reports)


class CatalogError(Exception):
    """The catalog, or a file that it names, is wrong. `problems` has one line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

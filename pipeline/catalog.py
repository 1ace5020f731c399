"""The catalog: which credentials read which properties, and which reports are kept of them.

A YAML file, read whole at start. Every error is told with its line and field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.contracts.messages import DataState, SearchType
from pipeline.contracts.reports import DIMENSIONS, SEARCH_TYPES, illegal_combination
from pipeline.errors import Invalid

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ReportName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,50}$")]
QueriesPerMinute = Annotated[int, Field(ge=1)]

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


class Report(_Strict):
    """A named set of dimensions with its search types."""

    name: ReportName
    dimensions: tuple[str, ...] = Field(min_length=1)
    search_types: tuple[SearchType, ...] = Field(default=("web",), min_length=1)
    data_state: DataState = "final"
    retention: Annotated[int, Field(ge=1)] | None = None
    """Days that are kept; None: all."""

    @model_validator(mode="after")
    def _legal(self) -> Self:
        for name in self.dimensions:
            if name not in DIMENSIONS:
                raise ValueError(f"dimensions: unknown {name!r}; known: {', '.join(DIMENSIONS)}")
        if self.name in TABLES or self.name.startswith("facts_"):
            raise ValueError(f"name: {self.name!r} is a table of gsc-stream's own")
        if problem := illegal_combination(self.dimensions, self.search_types, self.data_state):
            raise ValueError(problem)
        return self


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

    url: str = Field(pattern=r"^(sc-domain:[^\s/]+|https?://[^\s]+/)$", max_length=2048)
    credential: Identifier
    reports: tuple[ReportName, ...] | None = None
    site_qpm: QueriesPerMinute | None = None


class Catalog(_Strict):
    """The whole file; every reference in it resolves."""

    credentials: tuple[Credential, ...] = Field(min_length=1)
    properties: tuple[Property, ...] = Field(min_length=1)
    reports: tuple[Report, ...] = Field(default=DEFAULT_REPORTS, min_length=1)

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

    def reports_of(self, item: Property) -> tuple[Report, ...]:
        """The reports kept of a property, in the catalog's order."""
        if item.reports is None:
            return self.reports
        return tuple(report for report in self.reports if report.name in item.reports)


@dataclass(frozen=True)
class CatalogError(Exception):
    """What is wrong with the catalog, a line each."""

    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.problems)


def read_catalog(path: Path) -> Catalog:
    """Read and check a catalog; credential files become absolute paths. Raises CatalogError."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except OSError as error:
        raise CatalogError((f"{path}: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise CatalogError((f"{path}: not UTF-8 at byte {error.start}",)) from error
    except yaml.YAMLError as error:
        raise CatalogError((f"{path}: {' '.join(str(error).split())}",)) from error
    try:
        catalog = Catalog.model_validate(data)
    except ValidationError as error:
        raise CatalogError(tuple(_told(path, root, problem) for problem in error.errors())) from error
    if problems := [f"{path}:{_line(root, loc)}: {_dotted(loc)}: {text}" for loc, text in _dangling(catalog)]:
        raise CatalogError(tuple(problems))
    return _with_absolute_files(catalog, path.parent)


def _told(path: Path, root: yaml.Node | None, problem: Any) -> str:
    loc = problem["loc"]
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = f", got {value!r}" if isinstance(value, str | int | float | bool | None) else ""
    return f"{path}:{_line(root, loc)}: {_dotted(loc)}: {message}{shown}"


def _dotted(loc: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in loc) or "catalog"


def _line(root: yaml.Node | None, loc: tuple[str | int, ...]) -> int:
    """The line, from 1, of the deepest node on the path that exists."""
    node = root
    line = 1
    for part in loc:
        node = _child(node, part)
        if node is None:
            break
        line = node.start_mark.line + 1
    return line


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child: yaml.Node = node.value[part]
        return child
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def _dangling(catalog: Catalog) -> list[tuple[tuple[str | int, ...], str]]:
    """References to nothing, and names given twice, each with its place."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for kind, names in (
        ("credentials", [credential.id for credential in catalog.credentials]),
        ("properties", [item.url for item in catalog.properties]),
        ("reports", [report.name for report in catalog.reports]),
    ):
        problems += [((kind, i), f"{name!r} is given twice") for i, name in enumerate(names) if name in names[:i]]
    for i, item in enumerate(catalog.properties):
        if item.credential not in catalog.credential_by_id:
            problems.append((("properties", i, "credential"), f"unknown credential {item.credential!r}"))
        for j, name in enumerate(item.reports or ()):
            if name not in catalog.report_by_name:
                problems.append((("properties", i, "reports", j), f"unknown report {name!r}"))
    return problems


def _with_absolute_files(catalog: Catalog, folder: Path) -> Catalog:
    credentials = tuple(
        credential.model_copy(update={"file": (folder / credential.file).absolute()})
        for credential in catalog.credentials
    )
    return catalog.model_copy(update={"credentials": credentials})


def problem_of_credential_file(credential: Credential) -> Invalid | None:
    """Why a credential's file cannot be used, before it is."""
    if not credential.file.is_file():
        return Invalid(f"no such file: {credential.file}", field=f"credentials.{credential.id}.file")
    return None

"""A report: a named set of dimensions with its search types, and the rows that it selects. Pure."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from pipeline.catalog_fields import NotEmpty, Strict, Unique
from pipeline.contracts.messages import (
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

ReportName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,50}$")]

TABLES = frozenset(
    {
        "runs", "pages", "days", "series", "facts", "parked_chunks", "migrations", "replays",
        "freshness", "coverage", "searchdata_site_impression", "searchdata_url_impression",
    }
)  # fmt: skip
"""Tables and views of the schema `gsc`. A report is a view in the same schema, so it cannot have one of these names."""

_SEARCH = ("web", "news", "image", "video")
_ALL = (*_SEARCH, "discover", "googleNews")
_WITHOUT_DISCOVER = (*_SEARCH, "googleNews")


def _preset_fields(
    name: str, dimensions: tuple[str, ...], search_types: tuple[str, ...], **more: Any
) -> dict[str, Any]:
    return {"name": name, "dimensions": ("date", *dimensions), "search_types": search_types, **more}


_AIRBYTE = (
    _preset_fields("search_analytics_all_fields", ("country", "device", "page", "query"), _SEARCH),
    _preset_fields("search_analytics_by_date", (), _ALL),
    _preset_fields("search_analytics_by_country", ("country",), _ALL),
    _preset_fields("search_analytics_by_device", ("device",), _WITHOUT_DISCOVER),
    _preset_fields("search_analytics_by_page", ("page",), _ALL),
    _preset_fields("search_analytics_by_query", ("query",), _SEARCH),
    _preset_fields("search_analytics_page_report", ("country", "device", "page"), _WITHOUT_DISCOVER),
    _preset_fields(
        "search_analytics_site_report_by_page", ("country", "device"), _WITHOUT_DISCOVER, aggregation_type="byPage"
    ),
    _preset_fields(
        "search_analytics_site_report_by_site", ("country", "device"), _SEARCH, aggregation_type="byProperty"
    ),
    {"name": "search_appearances", "dimensions": ("searchAppearance",), "search_types": _SEARCH},
)
_SINGER = (
    _preset_fields("performance_report_date", (), _ALL),
    _preset_fields("performance_report_country", ("country",), _ALL),
    _preset_fields("performance_report_device", ("device",), _WITHOUT_DISCOVER),
    _preset_fields("performance_report_page", ("page",), _ALL),
    _preset_fields("performance_report_query", ("query",), _SEARCH),
    _preset_fields("performance_report_custom", ("country", "device", "page", "query"), _SEARCH),
)
PRESETS: Mapping[str, Mapping[str, Any]] = {
    **{f"airbyte/{fields['name']}": fields for fields in _AIRBYTE},
    **{f"singer/{fields['name']}": fields for fields in _SINGER},
}
"""Reports that are equal to the streams of other connectors, as fields of a report by the name of the preset.

docs/compatibility.md says which columns they have. Sources: the manifest of Airbyte's source-google-search-console, and
the streams of Singer's tap-google-search-console. `auto` equals their `byProperty` and `byPage` where it is possible:
Google aggregates by page when a query uses pages or is of Discover or Google News, and by property otherwise.
"""


def _check_preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"unknown preset{did_you_mean(name, PRESETS) or '; docs/compatibility.md lists them'}")
    return name


class ReportFilter(Strict):
    """A condition on the value of a dimension."""

    dimension: FilterDimension
    operator: FilterOperator = "equals"
    expression: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
    """The value, or a part of it, or a regular expression of RE2, as the operator says."""


class Report(Strict):
    """A named set of dimensions with its search types."""

    preset: Annotated[str, AfterValidator(_check_preset)] | None = None
    """A stream of another connector, whose fields are the defaults of those below."""
    name: ReportName
    search_types: Annotated[tuple[SearchType, ...], NotEmpty, Unique] = ("web",)
    """Each is fetched by calls of its own."""
    data_state: DataState = "final"
    """`final`: days that Google calls final. `all`: the newest days, too. `hourly_all`: hours of the last ten days."""
    retention: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """The number of days to keep. None keeps all."""
    filters: Annotated[tuple[ReportFilter, ...], Unique] = ()
    """All of them must hold."""
    aggregation_type: AggregationType = "auto"
    """How Google adds up results: `auto` is by page with the dimension page, and by property otherwise."""
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

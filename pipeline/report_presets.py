"""Reports that are equal to the streams of other connectors, as fields of a report by the name of the preset. Pure.

docs/compatibility.md says which columns they have. Sources: the manifest of Airbyte's source-google-search-console, and
the streams of Singer's tap-google-search-console. `auto` equals their `byProperty` and `byPage` where it is possible:
Google aggregates by page when a query uses pages or is of Discover or Google News, and by property otherwise.
"""

from collections.abc import Mapping
from typing import Any

_SEARCH = ("web", "news", "image", "video")
_ALL = (*_SEARCH, "discover", "googleNews")
_WITHOUT_DISCOVER = (*_SEARCH, "googleNews")


def _fields(name: str, dimensions: tuple[str, ...], search_types: tuple[str, ...], **more: Any) -> dict[str, Any]:
    return {"name": name, "dimensions": ("date", *dimensions), "search_types": search_types, **more}


_AIRBYTE = (
    _fields("search_analytics_all_fields", ("country", "device", "page", "query"), _SEARCH),
    _fields("search_analytics_by_date", (), _ALL),
    _fields("search_analytics_by_country", ("country",), _ALL),
    _fields("search_analytics_by_device", ("device",), _WITHOUT_DISCOVER),
    _fields("search_analytics_by_page", ("page",), _ALL),
    _fields("search_analytics_by_query", ("query",), _SEARCH),
    _fields("search_analytics_page_report", ("country", "device", "page"), _WITHOUT_DISCOVER),
    _fields(
        "search_analytics_site_report_by_page", ("country", "device"), _WITHOUT_DISCOVER, aggregation_type="byPage"
    ),
    _fields("search_analytics_site_report_by_site", ("country", "device"), _SEARCH, aggregation_type="byProperty"),
    {"name": "search_appearances", "dimensions": ("searchAppearance",), "search_types": _SEARCH},
)
_SINGER = (
    _fields("performance_report_date", (), _ALL),
    _fields("performance_report_country", ("country",), _ALL),
    _fields("performance_report_device", ("device",), _WITHOUT_DISCOVER),
    _fields("performance_report_page", ("page",), _ALL),
    _fields("performance_report_query", ("query",), _SEARCH),
    _fields("performance_report_custom", ("country", "device", "page", "query"), _SEARCH),
)
PRESETS: Mapping[str, Mapping[str, Any]] = {
    **{f"airbyte/{fields['name']}": fields for fields in _AIRBYTE},
    **{f"singer/{fields['name']}": fields for fields in _SINGER},
}

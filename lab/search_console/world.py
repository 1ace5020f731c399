"""The simulated data: a deterministic function of seed, property, date and search type. Pure.

Every report groups the same base rows, so totals by date equal the sums of the detailed rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from random import Random
from typing import NamedTuple

from lab.search_console.clock import hours_of
from lab.search_console.filters import Filter, predicate
from lab.search_console.settings import Site

PAGE_LIMIT = 25_000
CAP = 50_484  # the most rows that were observed for a day
_EMPTY_ONE_IN = 17
_COUNTRIES = ("usa", "jpn", "deu", "bra", "ind", "fra", "egy", "kor")
_DEVICES = ("DESKTOP", "MOBILE", "TABLET")
_WORDS = (
    "kafka",
    "ストリーム",
    "größe",
    "приём",
    "بحث",
    "search",
    "コンソール",
    "café",
    "🚀 launch",
    "e\u0301te\u0301",
    "naïve",
    "console",
)
_ODD_QUERIES = (
    "nul\x00inside",
    "lone \ud800 surrogate",
    "tab\tand\nline",
    "back\\slash",
    "quote \"and\" 'this'",
    "\\N",
)
_TYPE_SHARE = {"web": 1.0, "image": 0.3, "video": 0.1, "news": 0.1, "discover": 0.4, "googleNews": 0.1}
_APPEARANCES = ("AMP_BLUE_LINK", "RICHCARD", "VIDEO")


class Row(NamedTuple):
    """A row as the API lists it."""

    keys: tuple[str, ...]
    clicks: int
    impressions: int
    position: float


class Day(NamedTuple):
    """The identity of the base rows of a day; `revision` counts Google's corrections."""

    seed: int
    site: Site
    day: date
    search_type: str
    revision: int = 0
    changed: int = 0
    added: int = 0
    vanished: int = 0


def rows_of(day: Day, dimensions: Sequence[str], filters: Sequence[Filter] = ()) -> list[Row]:
    """Return all rows of a day, grouped by the dimensions, by clicks descending; ties in a fixed, arbitrary order."""
    base = _filtered(day, _base(day), filters)
    groups: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    columns = [_column(day, base, name) for name in dimensions]
    keys = zip(*columns, strict=True) if columns else [()] * len(base)
    for key, (_, clicks, impressions, rank) in zip(keys, base, strict=True):
        group = groups[key]
        group[0] += clicks
        group[1] += impressions
        group[2] += rank * impressions
    return _listed(groups)[:CAP]


def merged(days: Iterable[list[Row]]) -> list[Row]:
    """Return the rows of a range of days; rows with the same keys are added up."""
    groups: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for rows in days:
        for row in rows:
            group = groups[row.keys]
            group[0] += row.clicks
            group[1] += row.impressions
            group[2] += row.position * row.impressions
    return _listed(groups)


def _listed(groups: dict[tuple[str, ...], list[float]]) -> list[Row]:
    rows = [Row(key, int(c), int(i), p / i) for key, (c, i, p) in groups.items()]
    rows.sort(key=lambda row: -row.clicks)
    return rows


def page_of(rows: list[Row], start: int, limit: int, *, missed: bool = False) -> list[Row]:
    """Return a page. Where two rows tie at its border, its first row repeats the last one of the page before.

    The following rows move down by one, so that every row is on some page; with `missed`, the row that should have
    been the first is on no page.
    """
    if start == 0 or start % limit or limit == 1:
        return rows[start : start + limit]
    if missed:
        tied = start < len(rows) and rows[start - 1].clicks == rows[start].clicks
        return [rows[start - 1], *rows[start + 1 : start + limit]] if tied else rows[start : start + limit]
    first, repeats = limit, False
    for border in range(limit, start + 1, limit):
        if first >= len(rows):
            return []
        repeats = rows[first - 1].clicks == rows[first].clicks
        if border < start:
            first += limit - repeats
    return rows[first - repeats : first - repeats + limit]


def _base(day: Day) -> list[tuple[int, int, int, float]]:
    """Return (number of the combination, clicks, impressions, position), from one generator per day."""
    count = _count(day)
    random = Random(f"{day.seed}|{day.site.url}|{day.day}|{day.search_type}")  # noqa: S311 - deliberately repeatable
    draw = random.random
    base = []
    for number in range(count):
        clicks = int(40 * draw() ** 6 * (1 + 200 / (number + 1)))
        base.append((number, clicks, clicks + 1 + int(90 * draw() ** 3), 1 + 60 * draw()))
    return _revised(day, base)


def _filtered(
    day: Day, base: list[tuple[int, int, int, float]], filters: Sequence[Filter]
) -> list[tuple[int, int, int, float]]:
    for condition in filters:
        passes = predicate(condition)
        column = _column(day, base, condition.dimension)
        base = [row for row, value in zip(base, column, strict=True) if passes(value)]
    return base


def _revised(day: Day, base: list[tuple[int, int, int, float]]) -> list[tuple[int, int, int, float]]:
    """Apply corrections: change the first rows, remove the last ones, add new ones."""
    kept = base[: len(base) - day.vanished] if day.vanished else base
    changed = [(n, c + day.revision, i + 2 * day.revision, r) for n, c, i, r in kept[: day.changed]]
    added = [(CAP * 2 + n, day.revision, day.revision + 5, 7.5) for n in range(day.added)]
    return [*changed, *kept[day.changed :], *added]


def _count(day: Day) -> int:
    if day.search_type == "web" and day.day in day.site.cap_days:
        return CAP
    if day.search_type == "web" and day.day in day.site.full_days:
        return PAGE_LIMIT
    random = Random(f"{day.seed}|{day.site.url}|{day.day}|{day.search_type}|size")  # noqa: S311
    if random.randrange(_EMPTY_ONE_IN) == 0:
        return 0
    return int(day.site.rows * _TYPE_SHARE[day.search_type] * random.uniform(0.7, 1.3))


def _column(day: Day, base: list[tuple[int, int, int, float]], name: str) -> list[str]:
    """Return the value of a dimension in every base row. query and page together are unique per row."""
    numbers = [row[0] for row in base]
    if name == "date":
        return [day.day.isoformat()] * len(base)
    if name == "hour":
        hours = hours_of(day.day)
        return [hours[n % len(hours)] for n in numbers]
    if name == "country":
        return [_COUNTRIES[n % len(_COUNTRIES)] for n in numbers]
    if name == "device":
        return [_DEVICES[n % len(_DEVICES)] for n in numbers]
    if name == "searchAppearance":
        return [_APPEARANCES[n % len(_APPEARANCES)] for n in numbers]
    return [_page(day.site, n) if name == "page" else _query(day.site, n) for n in numbers]


def _query(site: Site, number: int) -> str:
    odd = number - 20
    if site.odd_queries and 0 <= odd < len(_ODD_QUERIES):
        return _ODD_QUERIES[odd]
    return f"{_WORDS[number % len(_WORDS)]} {_WORDS[number // 7 % len(_WORDS)]} {number}"


def _page(site: Site, number: int) -> str:
    root = site.url.removeprefix("sc-domain:")
    root = root if root.startswith("http") else f"https://{root}/"
    if number == 30:  # several kilobytes: more than an index row of PostgreSQL can hold
        return f"{root}long/{'x' * 5000}?q=%F0%9F%9A%80"
    return f"{root}path/{number // 3}/ü-{number % 3}?a=1&b=%20"

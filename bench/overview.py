"""The overview in docs/benchmarks.md, from bench/results: a table of the main figures beside their goals, and plots.

Only results that exist are shown. `make benchmarks-doc` writes it, and a test holds it against the results.
"""

import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import click
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from bench.results import FOLDER

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PLOTS = DOCUMENT.with_suffix("")
BEGIN, END = "<!-- overview: written by make benchmarks-doc -->\n", "<!-- end of the overview -->\n"
SIZE = (7.0, 2.6)
"""Inches."""


class Figure(NamedTuple):
    """A figure of a benchmark, and what is to be reached."""

    benchmark: str
    path: str
    """Names in the result, from the outside in, with dots."""
    text: str
    goal: str = ""


FIGURES = (
    Figure("quota", "utilisation", "calls a minute at the quota, of those allowed", "at least 0.95"),
    Figure("quota", "peak_credential", "most calls of a credential in any 60 s; 960 are allowed", "at most 960"),
    Figure("throughput", "rows_per_s", "rows a second, new days", "140,000"),
    Figure("throughput", "again_rows_per_s", "rows a second, the same days again", "400,000"),
    Figure("throughput", "again_rows_written", "rows that PostgreSQL writes for these", "0"),
    Figure("throughput", "changed_rows_per_s", "rows a second, 1 % of the rows changed", "120,000"),
    Figure("throughput", "cpu_ms_per_page.fetcher", "ms of CPU of the fetcher for 25,000 rows", "100"),
    Figure("throughput", "cpu_ms_per_page.sink", "of the sink", "75"),
    Figure("throughput", "cpu_ms_per_page.postgres", "of PostgreSQL", "90"),
    Figure("throughput", "cpu_ms_per_page.kafka", "of Kafka", "30"),
    Figure("peers", "x_airbyte", "times the rows a second of Airbyte's source", "100"),
    Figure("peers", "x_tap", "times the rows a second of Singer's tap and target"),
    Figure("sink", "new_vs_copy", "new days, share of the speed of a plain COPY", "0.7"),
    Figure("latency", "added_p99_s", "seconds added to the API's latency, p99, half load", "below 0.1"),
    Figure("halt", "p99_s", "seconds from a halt to the last call started, p99", "below 0.1"),
    Figure(
        "isolation", "others_throughput_min", "others' calls while one credential is in trouble, least share", "0.98"
    ),
    Figure("silence", "sink_not_ready_s", "seconds from a silent PostgreSQL to readiness false", "below 30"),
    Figure("silence", "standby_publishing_s", "to the other producer's first batch", "below 60"),
    Figure("planning", "producer_rss_max_mb", "MB of the producer while it plans a million pages", "below 200"),
)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when the files are not those of the results.")
def main(check: bool) -> None:
    """Write the overview of the results into docs/benchmarks.md, and the plots beside it."""
    results = read_results()
    files = {DOCUMENT: with_overview(DOCUMENT.read_text(), overview(results))}
    files |= {PLOTS / f"{name}.svg": svg for name, svg in plots(results).items()}
    if not check:
        PLOTS.mkdir(exist_ok=True)
        for path, text in files.items():
            path.write_text(text)
    elif differing := [path for path, text in files.items() if not path.exists() or path.read_text() != text]:
        raise click.ClickException(f"{', '.join(map(str, differing))}: not up to date; run `make benchmarks-doc`")


def read_results() -> dict[str, dict[str, Any]]:
    """Return the results of all benchmarks by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def with_overview(document: str, text: str) -> str:
    """Return the document with another overview. Raises ValueError when it has no place for one."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}{text}{END}{after}"


def overview(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table and the pictures, as Markdown."""
    rows = [_row(figure, results[figure.benchmark]) for figure in FIGURES if figure.benchmark in results]
    pictures = [f"![{title}](benchmarks/{name}.svg)" for name, title in _titles(results).items()]
    head = ["| benchmark | figure | value | goal | date |", "| --- | --- | --- | --- | --- |"]
    return "\n".join(["", *head, *filter(None, rows), "", *pictures, ""]) + "\n"


def _row(figure: Figure, result: Mapping[str, Any]) -> str:
    value: Any = result
    for name in figure.path.split("."):
        if name not in value:
            return ""
        value = value[name]
    return f"| `{figure.benchmark}` | {figure.text} | {value:,} | {figure.goal} | {result['date'][:10]} |"


def _titles(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: title for name, (title, _) in _PLOTS.items() if name in results}


def plots(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the plots of the results as SVG, by name. The same results give the same text."""
    return {name: _svg(title, results[name], draw) for name, (title, draw) in _PLOTS.items() if name in results}


def _svg(title: str, result: Mapping[str, Any], draw: Any) -> str:
    with mpl.rc_context({"svg.hashsalt": "gsc-stream", "svg.fonttype": "none", "font.size": 9}):
        plot = Plot(figsize=SIZE, layout="constrained")
        axes = plot.add_subplot()
        axes.set_title(title, loc="left")
        draw(axes, result)
        text = StringIO()
        plot.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _bars(axes: Axes, values: Mapping[str, float], label: str, *, log: bool = False) -> None:
    bars = axes.barh([*values], [*values.values()], log=log)
    axes.bar_label(bars, [f"{value:,}" for value in values.values()], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel(label)


def _peers(axes: Axes, result: Mapping[str, Any]) -> None:
    _bars(axes, {name: result[name] for name in ("ours", "sequential", "airbyte", "tap")}, "rows a second", log=True)


def _throughput(axes: Axes, result: Mapping[str, Any]) -> None:
    phases: Mapping[str, Any] = result["phases"]
    _bars(axes, {name: phase["rows_per_s"] for name, phase in phases.items()}, "rows a second")


def _sink(axes: Axes, result: Mapping[str, Any]) -> None:
    ours = {f"sink, {name}": case["rows_per_s"] for name, case in result["sink"].items() if name in ("new", "again")}
    _bars(axes, {**result["rows_per_s"], **ours}, "rows a second")


def _isolation(axes: Axes, result: Mapping[str, Any]) -> None:
    troubles: Mapping[str, Any] = result["troubles"]
    shares = {name.replace("_", " "): trouble["others_throughput"] for name, trouble in troubles.items()}
    _bars(axes, shares, "calls of the others, as a share of those without the trouble")


def _growth(axes: Axes, result: Mapping[str, Any]) -> None:
    cases: Sequence[Mapping[str, Any]] = result["cases"]
    for varies, unit in (("properties", "properties"), ("backlog", "pages")):
        chosen = [case for case in cases if case["varies"] == varies]
        points = [(case[unit], case["cost_per_page_ms"]) for case in chosen]
        axes.plot(*zip(*points, strict=True), marker="o", label=f"by {varies}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms of CPU a page")
    axes.legend()


_PLOTS = {
    "peers": ("The same days by other tools", _peers),
    "throughput": ("From the API to committed rows", _throughput),
    "sink": ("The sink beside COPY", _sink),
    "isolation": ("One credential in trouble", _isolation),
    "growth": ("Cost of a page", _growth),
}


if __name__ == "__main__":
    main()

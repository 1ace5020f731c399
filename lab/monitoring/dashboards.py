"""Grafana's JSON for the dashboards: `python -m lab.monitoring.dashboards FOLDER` writes a file for each."""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import bargauge, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, StackingConfig, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from lab.monitoring.board import VARIABLES, Board, Panel, Query, scoped
from lab.monitoring.panels import BOARDS

Builder = timeseries.Panel | statetimeline.Panel | stat.Panel | bargauge.Panel

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_ROW, _WIDTH, _HEIGHT = 24, 12, 8
_TILE_HEIGHT = 4


def render(board: Board) -> str:
    """Return the JSON of a dashboard."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(f"gsc-stream-{board.name}")
        .description(board.description)
        .tags(["gsc-stream"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name in VARIABLES:
        builder = builder.with_variable(_variable(name))
    tiles = sum(panel.kind == "stat" for panel in board.panels)
    for panel in board.panels:
        built = _build_panel(panel)
        tile = panel.kind == "stat"
        sized = built.span(_ROW // tiles).height(_TILE_HEIGHT) if tile else built.span(_WIDTH).height(_HEIGHT)
        builder = builder.with_panel(sized)
    return JSONEncoder(sort_keys=True, indent=1).encode(builder.build()) + "\n"


def _variable(name: str) -> dashboard.QueryVariable:
    """Return a filter with the values of a label. "All" matches series without the label, too."""
    metric = "gsc_calls_last_minute" if name == "credential" else "gsc_service_info"
    return (
        dashboard.QueryVariable(name)
        .label(name)
        .datasource(_SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _build_panel(panel: Panel) -> Builder:
    builder = _of_kind(panel)
    builder = builder.title(panel.title).description(panel.description).unit(panel.unit).datasource(_SOURCE)
    if panel.steps:
        steps = [Threshold(value=None, color="green"), *(Threshold(value, color) for value, color in panel.steps)]
        builder = builder.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for number, query in enumerate(panel.queries):
        builder = builder.with_target(_target(query, number, now=panel.kind in {"stat", "bars"}))
    return builder


def _target(query: Query, number: int, *, now: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(scoped(query.expr)).legend_format(query.legend).ref_id(chr(ord("A") + number))
    return target.datasource(_SOURCE).instant() if now else target.datasource(_SOURCE).range()


def _of_kind(panel: Panel) -> Builder:
    last = ReduceDataOptions().calcs(["lastNotNull"])
    if panel.kind == "states":
        return statetimeline.Panel()
    if panel.kind == "stat":
        return stat.Panel().reduce_options(last).no_value("none")
    if panel.kind == "bars":
        bars = bargauge.Panel().reduce_options(last).orientation(VizOrientation.HORIZONTAL).no_value("none").min(0)
        return bars.display_mode(BarGaugeDisplayMode.BASIC)
    return _lines(stacked=panel.kind == "stacked")


def _lines(*, stacked: bool) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.BOTTOM)
    lines = timeseries.Panel().legend(legend.show_legend(True).calcs(["lastNotNull", "max"])).min(0)
    return lines.stacking(StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40) if stacked else lines


def write(folder: Path) -> None:
    """Write each dashboard as `NAME.json`."""
    for board in BOARDS:
        (folder / f"{board.name}.json").write_text(render(board), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

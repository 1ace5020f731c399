"""Grafana's JSON for the dashboards: `python -m lab.monitoring.dashboards FOLDER` writes a file for each."""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, statetimeline, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from lab.monitoring.board import Board, Panel
from lab.monitoring.panels import BOARDS

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH, _HEIGHT = 12, 8


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
    for panel in board.panels:
        builder = builder.with_panel(_build_panel(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(builder.build()) + "\n"


def _build_panel(panel: Panel) -> timeseries.Panel | statetimeline.Panel:
    builder = statetimeline.Panel() if panel.kind == "states" else _lines(stacked=panel.kind == "stacked")
    builder = builder.title(panel.title).description(panel.description).unit(panel.unit).datasource(_SOURCE)
    builder = builder.span(_WIDTH).height(_HEIGHT)
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        builder = builder.with_target(target.datasource(_SOURCE).range())
    return builder


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

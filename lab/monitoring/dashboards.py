"""Grafana's dashboards, from the panels: `python -m lab.monitoring.dashboards FOLDER` writes them."""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, statetimeline, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from lab.monitoring.panels import BOARDS, Board, Panel

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH, _HEIGHT = 12, 8


def rendered(board: Board) -> str:
    """The JSON of a dashboard."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(f"gsc-stream-{board.name}")
        .description(board.about)
        .tags(["gsc-stream"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for panel in board.panels:
        built = built.with_panel(_picture(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _picture(panel: Panel) -> timeseries.Panel | statetimeline.Panel:
    picture = statetimeline.Panel() if panel.kind == "states" else _lines(stacked=panel.kind == "stacked")
    picture = picture.title(panel.title).description(panel.about).unit(panel.unit).datasource(_SOURCE)
    picture = picture.span(_WIDTH).height(_HEIGHT)
    for number, query in enumerate(panel.queries):
        asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        picture = picture.with_target(asked.datasource(_SOURCE).range())
    return picture


def _lines(*, stacked: bool) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.BOTTOM)
    lines = timeseries.Panel().legend(legend.show_legend(True).calcs(["lastNotNull", "max"])).min(0)
    return lines.stacking(StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40) if stacked else lines


def write(folder: Path) -> None:
    """Write every dashboard as `NAME.json`."""
    for board in BOARDS:
        (folder / f"{board.name}.json").write_text(rendered(board), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

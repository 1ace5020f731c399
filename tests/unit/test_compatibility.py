"""docs/compatibility.md says of every preset what it is."""

from pathlib import Path

from pipeline.report import PRESETS, Report

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"


def documented() -> dict[str, tuple[list[str], list[str], bool]]:
    """Dimensions, search types, and whether an aggregation type is named, by preset."""
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1].startswith("preset `"):
            dimensions = cells[2].partition(", and no")[0]
            rows[cells[1].split("`")[1]] = (
                [name for name in dimensions.split(", ") if name],
                cells[3].split(", "),
                "aggregation_type" in cells[1],
            )
    return rows


def test_the_table_has_every_preset_with_its_dimensions_and_search_types() -> None:
    reports = {name: Report.model_validate({"preset": name}) for name in PRESETS}
    assert documented() == {
        name: (
            [dimension for dimension in report.dimensions if dimension != "date"],
            list(report.search_types),
            report.aggregation_type != "auto",
        )
        for name, report in reports.items()
    }

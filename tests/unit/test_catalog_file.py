"""Reading the catalog file, and its errors."""

from pathlib import Path

import pytest

from pipeline.catalog import CatalogError
from pipeline.catalog_file import read_catalog

CATALOG = """\
credentials:
  - {id: acme, type: service_account, file: acme.json}
properties:
  - {url: "sc-domain:example.com", credential: acme, reports: [by_page]}
reports:
  - {name: by_page, dimensions: [date, page], search_types: [web]}
"""


def test_credential_files_are_relative_to_the_catalog(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    catalog = read_catalog(path)
    assert catalog.credentials[0].file == catalog.credential_by_id["acme"].file == tmp_path / "acme.json"
    assert catalog.credentials[0].file_field == f"{path}:2: credentials.acme.file"
    assert [report.name for report in catalog.reports_of(catalog.properties[0])] == ["by_page"]


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("credential: acme", "credential: nobody", 4, "properties.0.credential: unknown credential 'nobody'"),
        ("reports: [by_page]", "reports: [nope]", 4, "properties.0.reports.0: unknown report 'nope'"),
        ("service_account", "robot", 2, "credentials.0.type: "),
        (
            "dimensions: [date, page]",
            "dimensions: [date, colour]",
            6,
            "reports.0.dimensions: unknown dimension 'colour'",
        ),
        ("[date, page]", "[date, page, date]", 6, "reports.0.dimensions: 'date' appears twice"),
        ("[date, page]", "[]", 6, "reports.0.dimensions: must not be empty"),
        (
            "search_types: [web]",
            "search_types: [discover], data_state: hourly_all",
            6,
            "dimensions: the dimension hour and data_state",
        ),
        ("[date, page], search_types: [web]", "[query], search_types: [discover]", 6, "cannot be grouped by query"),
        ("[web]", "[web, web]", 6, "reports.0.search_types: 'web' appears twice"),
        ("search_types: [web]", "retention: 99999999999", 6, "reports.0.retention: "),
        ("name: by_page", "name: runs", 6, "'runs' is the name of a table"),
        ("[by_page]", "[]", 4, "properties.0.reports: must not be empty"),
        ("example.com", "exa\\0mple.com", 4, "properties.0.url: must be sc-domain:NAME, or"),
        ("id: acme", "id: 2026-99-99", 2, "'2026-99-99': month must be in 1..12"),
        ("id: acme", "id: 0x_", 2, "'0x_': "),
        ("id: acme", "id: !!bool x", 2, "'x'"),
        ("id: acme", "id: acme, id: other", 2, 'found duplicate key "id"'),
        ("reports:\n", "properties:\n", 5, 'found duplicate key "properties"'),
        ("credentials:\n", "credentials: !!set\n", 1, "expected a mapping node"),
        ("credentials:\n", "credentials: []\nothers:\n", 1, "credentials: must not be empty"),
        (CATALOG, "- a\n", 1, "catalog: must be a mapping of fields"),
        ('"sc-domain:example.com"', "example.com", 4, "properties.0.url: "),
        ("file: acme.json", "fiel: acme.json", 2, "credentials.0.file: Field required"),
        ("reports:\n", "reports: [\n", 6, ""),
    ],
)
def test_an_invalid_catalog_is_an_error_with_line_and_field(
    tmp_path: Path, old: str, new: str, line: int, text: str
) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG.replace(old, new, 1))
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert text in str(caught.value)
    if text:
        assert f"catalog.yaml:{line}: " in str(caught.value)


def test_one_problem_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG.replace("date, page", "date, colour"))
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty"),
        (b"# later\n", "empty"),
        (b"---\n", "empty"),
        (b"[" * 3000, "nested too deeply"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_file_that_is_not_a_catalog_is_an_error(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=text):
        read_catalog(path)


def test_a_missing_catalog_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"):
        read_catalog(tmp_path / "nope.yaml")

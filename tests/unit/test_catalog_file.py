"""Catalog files that are right, and the errors of those that are not."""

from pathlib import Path

import pytest

from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.contracts.messages import ALL_ROWS
from pipeline.report import PRESETS

CATALOG = """\
credentials:
  - {id: acme, type: service_account, file: acme.json}
properties:
  - {url: "sc-domain:example.com", credential: acme, reports: [by_page]}
reports:
  - {name: by_page, dimensions: [date, page], search_types: [web]}
"""
REPORTS = CATALOG[CATALOG.index("reports:\n") :]


def read(folder: Path, text: str) -> Catalog:
    path = folder / "catalog.yaml"
    path.write_text(text)
    return read_catalog(path)


def find_problems(folder: Path, text: str) -> list[str]:
    """The lines of the error, without the path of the file."""
    with pytest.raises(CatalogError) as caught:
        read(folder, text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    prefix = f"{folder / 'catalog.yaml'}:"
    assert all(line.startswith(prefix) for line in caught.value.problems)
    return [line.removeprefix(prefix) for line in caught.value.problems]


def test_paths_of_credential_files_are_relative_to_the_catalog(tmp_path: Path) -> None:
    catalog = read(tmp_path, CATALOG)
    assert catalog.credentials[0].file == catalog.credential_by_id["acme"].file == tmp_path / "acme.json"
    assert catalog.credentials[0].key_field == f"{tmp_path}/catalog.yaml:2: credentials.acme.file"


def test_a_property_has_the_reports_that_it_names_or_all(tmp_path: Path) -> None:
    text = CATALOG.replace(REPORTS, "").replace("[by_page]", "[page_query, by_date]")
    catalog = read(tmp_path, text + '  - {url: "https://example.com/", credential: acme}\n')
    first, second = catalog.properties
    assert [report.name for report in catalog.reports_of(first)] == ["by_date", "page_query"]
    assert catalog.reports_of(second) == catalog.reports


def test_an_unknown_preset_is_the_only_error_of_its_report(tmp_path: Path) -> None:
    text = CATALOG.replace("{name: by_page, dimensions: [date, page], search_types: [web]}", "{preset: x}")
    [problem, _] = find_problems(tmp_path, text.replace(", reports: [by_page]", "") + "  - {preset: y}\n")
    assert problem == "6: reports.0.preset: unknown preset; docs/compatibility.md lists them, got 'x'"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_report_whose_fields_can_be_changed(tmp_path: Path, preset: str) -> None:
    entries = f"  - {{preset: {preset}}}\n  - {{preset: {preset}, name: mine, search_types: [image], retention: 9}}\n"
    [first, second] = read(
        tmp_path, CATALOG.replace(REPORTS, f"reports:\n{entries}").replace("[by_page]", "[mine]")
    ).reports
    assert first.name == preset.partition("/")[2]
    assert (second.name, second.search_types, second.retention) == ("mine", ("image",), 9)
    assert (second.dimensions, second.aggregation_type) == (first.dimensions, first.aggregation_type)


def test_a_report_has_a_selection_of_rows(tmp_path: Path) -> None:
    filters = "filters: [{dimension: page, operator: contains, expression: /a}, {dimension: country, expression: jpn}]"
    text = CATALOG.replace("search_types: [web]", f"{filters}, aggregation_type: byPage, row_limit: 7")
    [report] = read(tmp_path, text).reports
    conditions = [(item.dimension, item.operator, item.expression) for item in report.selection.filters]
    assert conditions == [("page", "contains", "/a"), ("country", "equals", "jpn")]
    assert (report.selection.aggregation_type, report.selection.row_limit) == ("byPage", 7)
    assert read(tmp_path, CATALOG).reports[0].selection == ALL_ROWS


def test_a_scope_that_the_catalog_lacks_is_unknown(tmp_path: Path) -> None:
    catalog = read(tmp_path, CATALOG)
    assert catalog.unknown_scope("property:sc-domain:typo.com") == (
        "property 'sc-domain:typo.com'; did you mean 'sc-domain:example.com'?"
    )
    assert catalog.unknown_scope("credential:other") == "credential 'other'"
    assert catalog.unknown_scope("project:other") == "project 'other'"
    known = ("all", "run:any", "project:default", "credential:acme", "property:sc-domain:example.com")
    assert [catalog.unknown_scope(scope) for scope in known] == [None] * 5


def test_a_credential_belongs_to_the_project_that_it_names_or_to_the_default_one(tmp_path: Path) -> None:
    text = CATALOG.replace(
        "properties:", "  - {id: agency, type: service_account, file: b.json, project: our-project}\nproperties:"
    )
    catalog = read(tmp_path, text + "projects:\n  our-project: {qpm: 600}\n")
    assert catalog.project_by_credential == {"acme": "default", "agency": "our-project"}
    assert catalog.projects["our-project"].qpm == 600


@pytest.mark.parametrize(
    ("projects", "problem"),
    [
        ("{typo: {qpm: 600}}", "8: projects.typo: no credential names this project"),
        ("{default: {qpm: 0}}", "8: projects.default.qpm: must be greater than or equal to 20, got 0"),
        ("{default: {quota: 9}}", "8: projects.default.quota: unknown field; known: qpm"),
        ("[default]", "7: projects: "),
    ],
)
def test_a_project_that_is_wrong_is_named_with_its_line(tmp_path: Path, projects: str, problem: str) -> None:
    [line] = find_problems(tmp_path, f"{CATALOG}projects:\n  {projects}\n")
    assert line.startswith(problem)


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
        ("[date, page]", "[date, page, date]", 6, "reports.0.dimensions: 'date' is repeated"),
        ("[date, page]", "[]", 6, "reports.0.dimensions: must not be empty"),
        (
            "search_types: [web]",
            "search_types: [discover], data_state: hourly_all",
            6,
            "reports.0.dimensions: the dimension hour and data_state hourly_all require each other",
        ),
        ("[date, page], search_types: [web]", "[query], search_types: [discover]", 6, "cannot be grouped by query"),
        ("[web]", "[web, web]", 6, "reports.0.search_types: 'web' is repeated"),
        ("search_types: [web]", "retention: 99999999999", 6, "reports.0.retention: "),
        ("name: by_page", "name: runs", 6, "'runs' is the name of a table"),
        ("name: by_page", "name: facts_1", 6, "'facts_1' is the name of a table"),
        ("search_types: [web]", "row_limit: 25001", 6, "reports.0.row_limit: must be less than or equal to 25000"),
        ("search_types: [web]", "aggregation_type: byMoon", 6, "reports.0.aggregation_type: must be 'auto', 'byPage'"),
        ("search_types: [web]", "aggregation_type: byProperty", 6, "reports.0.dimensions: aggregation_type byProperty"),
        (
            "search_types: [web]",
            "filters: [{dimension: date, expression: x}]",
            6,
            "reports.0.filters.0.dimension: must",
        ),
        ("search_types: [web]", "filters: [{dimension: page}]", 6, "reports.0.filters.0.expression: missing"),
        ("search_types: [web]", "filters: [{dimension: page, expression: ''}]", 6, "reports.0.filters.0.expression: "),
        (
            "search_types: [web]",
            "filters: [{dimension: page, operator: like, expression: x}]",
            6,
            "reports.0.filters.0.operator: must be 'equals', 'notEquals'",
        ),
        (
            "search_types: [web]",
            "search_types: [discover], filters: [{dimension: device, expression: MOBILE}]",
            6,
            "reports.0.dimensions: search type discover cannot be filtered by device",
        ),
        ("name: by_page,", "preset: airbyte/sites,", 6, "reports.0.preset: unknown preset"),
        (
            "name: by_page,",
            "preset: airbyte/search_analytics_by_dat,",
            6,
            "preset: unknown preset; did you mean 'airbyte/search_analytics_by_date'?, got 'airbyte/",
        ),
        ("[by_page]", "[]", 4, "properties.0.reports: must not be empty"),
        ("[by_page]", "by_page", 4, "properties.0.reports: must be a list, got 'by_page'"),
        ("example.com", "exa\\0mple.com", 4, "properties.0.url: must be sc-domain:NAME, or"),
        ('"sc-domain:example.com"', "example.com", 4, "properties.0.url: must be sc-domain:NAME, or"),
        ("file: acme.json", "fiel: acme.json", 2, "credentials.0.file: missing"),
        ("file: acme.json", "file: acme.json, usr_qpm: 1", 2, "usr_qpm: unknown field; did you mean 'user_qpm'?"),
        ("file: acme.json", "file:", 2, "credentials.0.file: missing; a credential of type service_account has a key"),
        ("service_account", "application_default", 2, "file: a credential of type application_default has no key file"),
        ("acme.json", "acme.json, subject: ann", 2, "credentials.0.subject: "),
        ("service_account", "authorized_user, subject: a@b.c", 2, "credentials.0.subject: only a credential of type s"),
        ("reports: [by_page]", "start: 1999-12-31", 4, "properties.0.start: the year must be from 2000 to 2199"),
        ("reports: [by_page]", "start: yesterday", 4, "properties.0.start: "),
        ("reports: [by_page]", "colour: red", 4, "properties.0.colour: unknown field; known: credential, "),
        ("reports: [by_page]", "reports: [by_pag]", 4, "unknown report 'by_pag'; did you mean 'by_page'?"),
        ("file: acme.json", "file: acme.json, user_qpm: x", 2, "credentials.0.user_qpm: must be a whole number"),
        (
            "file: acme.json",
            "file: acme.json, user_qpm: 19",
            2,
            "credentials.0.user_qpm: must be greater than or equal to 20, got 19",
        ),
        ("id: acme", "id: 2026-99-99", 2, "'2026-99-99' is not a valid timestamp; put quotes"),
        ("id: acme", "id: 0x_", 2, "'0x_' is not a valid int; put quotes"),
        ("id: acme", "id: !!bool x", 2, "'x' is not a valid bool; put quotes"),
        ("id: acme", "id: !mine x", 2, "could not determine a constructor for the tag '!mine'"),
        ("credentials:\n", "credentials: !mine\n", 1, "could not determine a constructor for the tag '!mine'"),
        ("id: acme", "id: acme, id: other", 2, "duplicate key 'id'"),
        ("reports:\n", "properties:\n", 5, "duplicate key 'properties'"),
        ("credentials:\n", "credentials: !!set\n", 1, "expected a mapping node"),
        ("credentials:\n", "credentials: []\nothers:\n", 1, "credentials: must not be empty"),
        (CATALOG, "- a\n", 1, "catalog: must be a mapping of fields"),
        ("reports:\n", "reports: [\n", 6, ""),
        ("reports:\n", "---\nreports:\n", 5, "expected a single document"),
        ("id: acme", "id: *acme", 2, "found undefined alias 'acme'"),
        ("id: acme", "<<: {user_qpm: 0}, id: acme", 2, "credentials.0.user_qpm: must be greater than"),
    ],
)
def test_an_error_has_the_line_and_the_field(tmp_path: Path, old: str, new: str, line: int, text: str) -> None:
    problem = find_problems(tmp_path, CATALOG.replace(old, new, 1))[0]
    assert problem.startswith(f"{line}: ")
    assert text in problem


@pytest.mark.parametrize(
    ("section", "line", "text"),
    [
        ("credentials", 3, "credentials.1: 'acme' is repeated"),
        ("properties", 5, "properties.1: 'sc-domain:example.com' is repeated"),
        ("reports", 7, "reports.1: 'by_page' is repeated"),
    ],
)
def test_a_repeated_entry_is_an_error(tmp_path: Path, section: str, line: int, text: str) -> None:
    lines = CATALOG.splitlines(keepends=True)
    lines.insert(line - 1, lines[line - 2])
    assert find_problems(tmp_path, "".join(lines)) == [f"{line}: {text}"]


def test_the_line_of_a_block_entry_is_that_of_its_key(tmp_path: Path) -> None:
    entry = "  -\n    id:\n    type: |\n      robot\n    file: acme.json\n"
    assert [problem.partition(": must")[0] for problem in find_problems(tmp_path, f"credentials:\n{entry}")] == [
        "3: credentials.0.id",
        "4: credentials.0.type",
        "1: properties: missing",
    ]


def test_one_mistake_is_one_line(tmp_path: Path) -> None:
    assert len(find_problems(tmp_path, CATALOG.replace("date, page", "date, colour"))) == 1
    assert len(find_problems(tmp_path, CATALOG.replace("[web]", "[books]"))) == 1


def test_every_mistake_is_reported(tmp_path: Path) -> None:
    text = CATALOG.replace("service_account", "robot").replace("[web]", "[books]")
    assert [problem[:2] for problem in find_problems(tmp_path, text)] == ["2:", "6:"]


@pytest.mark.parametrize(
    ("written", "value"),
    [("024", 24), ("0o30", 24), ("1_000", 1000), ("1e3", 1000), ("", None), ("~", None), ("&limit 50", 50)],
)
def test_numbers_are_those_of_yaml_1_2(tmp_path: Path, written: str, value: int | None) -> None:
    catalog = read(tmp_path, CATALOG.replace("id: acme", f"user_qpm: {written}, id: acme", 1))
    assert catalog.credentials[0].user_qpm == value


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "1.2.3", "!!str 12", "'12'"])
def test_words_are_text_unless_yaml_1_2_has_another_type(tmp_path: Path, word: str) -> None:
    catalog = read(tmp_path, CATALOG.replace(": acme,", f": {word},"))
    assert catalog.credentials[0].id == word.rsplit(maxsplit=1)[-1].strip("'")
    assert type(catalog.credentials[0].id) is str


@pytest.mark.parametrize(("word", "shown"), [("12", ", got 12"), ("true", ", got true"), ("2026-01-02", "")])
def test_another_type_is_not_text(tmp_path: Path, word: str, shown: str) -> None:
    text = CATALOG.replace("id: acme", f"id: {word}", 1)
    assert find_problems(tmp_path, text) == [f"2: credentials.0.id: must be text{shown}"]


def test_anchors_and_merge_keys_are_resolved(tmp_path: Path) -> None:
    credentials = "  - &base {id: acme, type: service_account, file: acme.json}\n  - {<<: *base, id: other}\n"
    catalog = read(tmp_path, CATALOG.replace(CATALOG.splitlines(keepends=True)[1], credentials))
    assert [(item.id, item.file and item.file.name) for item in catalog.credentials] == [
        ("acme", "acme.json"),
        ("other", "acme.json"),
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty; list"),
        (b"# later\n", "the file is empty; list"),
        (b"---\n", "the file is empty; list"),
        (b"[" * 1000, "its lists or mappings are nested too deeply; close"),
        (b"a: \xff", "the byte at offset 3 is not UTF-8; save"),
        (b"a: \x01", "unacceptable character #x0001: special characters are not allowed"),
    ],
)
def test_a_file_that_is_not_yaml_is_an_error_of_one_line(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: {text}")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nope\.yaml: No such file"):
        read_catalog(tmp_path / "nope.yaml")

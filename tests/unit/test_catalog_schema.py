"""The JSON Schema of the catalog, for editors."""

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from pipeline.catalog import Credential, Project, Property
from pipeline.catalog_file import read_catalog
from pipeline.catalog_schema import catalog_schema, schema_text
from pipeline.report import PRESETS, Report, ReportFilter

COMMITTED = Path(__file__).parents[2] / "docs" / "catalog.schema.json"
CATALOG = """\
credentials:
  - {id: acme, type: service_account, file: acme.json, subject: ann@example.com, user_qpm: 600}
  - {id: cloud, type: application_default, project: ours}
projects:
  ours: {qpm: 100}
properties:
  - {url: "sc-domain:example.com", credential: acme, reports: [mine]}
  - {url: "https://example.com/", credential: cloud, site_qpm: 60}
reports:
  - name: mine
    dimensions: [date, query]
    filters: [{dimension: page, operator: includingRegex, expression: /blog/}]
    aggregation_type: byPage
    row_limit: 10
    retention: 500
"""


DIMENSIONAL = {"dimension", "dimensions"}


def problems(text: str) -> list[str]:
    validator = Draft202012Validator(catalog_schema())
    return [error.message for error in validator.iter_errors(YAML(typ="safe").load(text))]


def test_the_committed_schema_equals_the_code() -> None:
    assert COMMITTED.read_text() == schema_text(), "run `make catalog-schema`"
    Draft202012Validator.check_schema(catalog_schema())


def test_a_catalog_that_is_read_is_valid_by_the_schema(tmp_path: Path) -> None:
    presets = "".join(f"  - {{preset: {name}}}\n" for name in PRESETS if name.startswith("airbyte/"))
    (tmp_path / "catalog.yaml").write_text(CATALOG + presets)
    assert len(read_catalog(tmp_path / "catalog.yaml").reports) == presets.count("preset") + 1
    assert problems(CATALOG + presets) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("id: acme, ", ""),
        ("type: service_account", "type: robot"),
        ("row_limit: 10", "row_limit: 0"),
        ("row_limit: 10", "row_limits: 10"),
        ("name: mine\n    dimensions: [date, query]", "name: mine"),
        ("operator: includingRegex", "operator: like"),
        ("site_qpm: 60", "site_qpm: many"),
    ],
)
def test_an_editor_underlines_what_is_wrong(old: str, new: str) -> None:
    assert old in CATALOG
    assert problems(CATALOG.replace(old, new))


def test_every_field_has_a_description_or_a_name_that_says_it() -> None:
    plain = {
        "id",
        "type",
        "name",
        "url",
        "credential",
        "credentials",
        "properties",
        "reports",
        "operator",
    } | DIMENSIONAL
    schema = catalog_schema()
    models: list[dict[str, Any]] = [schema, *schema["$defs"].values()]
    without = {
        name
        for model in models
        for name, field in model.get("properties", {}).items()
        if "description" not in field and name not in plain
    }
    assert without == set()


def test_the_tables_in_the_docs_have_every_field() -> None:
    document = COMMITTED.with_name("catalog.md").read_text()
    tables = [re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for table in document.split("| --- | --- | --- |")[1:]]
    models = (Credential, Project, Property, Report, ReportFilter)
    assert [sorted(names) for names in tables] == [sorted(model.model_fields) for model in models]

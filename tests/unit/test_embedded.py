"""A plan is checked before any process starts."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.embedded import Plan, SearchConsoleApi, find_problems
from lab.servers import ServerChoice

CATALOG = """\
credentials:
  - {id: acme, type: authorized_user, file: acme.json}
  - {id: other, type: authorized_user, file: other.json}
properties:
  - {url: "sc-domain:example.com", credential: acme}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    for name in ("acme", "other"):
        (tmp_path / f"{name}.json").write_text('{"refresh_token": "r", "client_id": "c", "client_secret": "s"}')
    return path


def plan(catalog: Path, settings: Mapping[str, str], api_root: str = "https://example.com") -> Plan:
    return Plan(SearchConsoleApi(api_root, catalog), catalog.parent / "data", ServerChoice(), settings)


def test_a_correct_plan_has_no_problems(catalog: Path) -> None:
    assert find_problems(plan(catalog, {"GSC_SITE_QPM": "600", "GSC_HTTP_TOKEN": "t"})) == []


def test_all_problems_of_settings_and_credentials_are_reported_together(catalog: Path) -> None:
    (catalog.parent / "acme.json").unlink()
    (catalog.parent / "other.json").write_text("{")
    problems = find_problems(plan(catalog, {"GSC_SITE_QPM": "many", "GSC_SINK_LINGER_MS": "-1"}, "garbage"))
    assert [line.partition(": ")[0] for line in problems[:3]] == ["GSC_SITE_QPM", "GSC_API_ROOT", "GSC_SINK_LINGER_MS"]
    assert [line.split(": ")[1] for line in problems[3:]] == ["credentials.acme.file", "credentials.other.file"]


def test_a_quota_of_a_project_that_is_too_small_is_reported(catalog: Path) -> None:
    (problem,) = find_problems(plan(catalog, {"GSC_PROJECT_QPM": "20", "GSC_QUOTA_HEADROOM": "0.5"}))
    assert "project default: 20 a minute x headroom 0.5 = 10 must be more than one call" in problem


def test_a_problem_of_the_catalog_is_reported_with_its_line(catalog: Path) -> None:
    catalog.write_text(CATALOG.replace("credential: acme", "credential: nobody"))
    (problem,) = find_problems(plan(catalog, {}))
    assert "catalog.yaml:5: properties.0.credential: unknown credential 'nobody'" in problem

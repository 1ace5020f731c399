from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.embedded import Plan, problems_of
from lab.servers import ServerChoice
from lab.services import inherited

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


def a_plan(catalog: Path, settings: Mapping[str, str], api_root: str = "https://example.com") -> Plan:
    return Plan(catalog, api_root, catalog.parent / "data", ServerChoice(), settings)


def test_nothing_is_wrong(catalog: Path) -> None:
    assert problems_of(a_plan(catalog, {"GSC_SITE_QPM": "600", "GSC_HTTP_TOKEN": "t"})) == []


def test_all_that_is_wrong_is_told_at_once(catalog: Path) -> None:
    (catalog.parent / "acme.json").unlink()
    (catalog.parent / "other.json").write_text("{")
    told = problems_of(a_plan(catalog, {"GSC_SITE_QPM": "many", "GSC_SINK_LINGER_MS": "-1"}, "garbage"))
    assert [line.partition(": ")[0] for line in told[:3]] == ["GSC_SITE_QPM", "GSC_API_ROOT", "GSC_SINK_LINGER_MS"]
    assert [line.split(": ")[1] for line in told[3:]] == ["credentials.acme.file", "credentials.other.file"]


def test_limits_and_catalogs_that_cannot_hold(catalog: Path) -> None:
    (told,) = problems_of(a_plan(catalog, {"GSC_SITE_QPM": "5"}))
    assert "GSC_SITE_QPM: 5 a minute" in told
    catalog.write_text(CATALOG.replace("credential: acme", "credential: nobody"))
    (told,) = problems_of(a_plan(catalog, {}))
    assert "catalog.yaml:5: properties.0.credential: unknown credential 'nobody'" in told


def test_proxies_reach_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "localhost", "SSL_CERT_FILE": "/ca.pem"}
    for name, value in {**given, "GSC_SITE_QPM": "1"}.items():
        monkeypatch.setenv(name, value)
    assert inherited().items() >= given.items()
    assert "GSC_SITE_QPM" not in inherited()

from pathlib import Path

import pytest

from fetcher.settings import FetcherSettings
from pipeline.catalog import CatalogError, read_catalog
from pipeline.settings import SettingsError, kafka_configuration, read

GOOD = {"GSC_KAFKA_BOOTSTRAP_SERVERS": "k:9092", "GSC_CATALOG": "c.yaml"}
CATALOG = """\
credentials:
  - {id: acme, type: service_account, file: acme.json}
properties:
  - {url: "sc-domain:example.com", credential: acme, reports: [by_page]}
reports:
  - {name: by_page, dimensions: [date, page], search_types: [web]}
"""


def test_defaults_and_values() -> None:
    settings = read(FetcherSettings, {**GOOD, "GSC_MAX_CONCURRENCY": "1", "GSC_SITE_QPM": ""})
    assert (settings.max_concurrency, settings.max_in_flight, settings.site_qpm) == (1, 10, 1200)
    assert settings.quota_headroom == 0.8


def test_librdkafka_settings_by_name() -> None:
    assert kafka_configuration({**GOOD, "GSC_KAFKA_SASL_USERNAME": "u", "OTHER": "x"}) == {
        "bootstrap.servers": "k:9092",
        "sasl.username": "u",
    }


def test_every_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read(FetcherSettings, {"GSC_MAX_CONCURRENCY": "0", "GSC_QUOTA_HEADROOM": "much", "GSC_API_ROOT": "ftp://x"})
    told = {line.partition(":")[0] for line in caught.value.problems}
    assert told == {
        "GSC_KAFKA_BOOTSTRAP_SERVERS",
        "GSC_CATALOG",
        "GSC_MAX_CONCURRENCY",
        "GSC_QUOTA_HEADROOM",
        "GSC_API_ROOT",
    }
    assert any("got '0'" in line for line in caught.value.problems)


def test_a_catalog_is_read_with_files_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    catalog = read_catalog(path)
    assert catalog.credentials[0].file == tmp_path / "acme.json"
    assert [report.name for report in catalog.reports_of(catalog.properties[0])] == ["by_page"]


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("credential: acme", "credential: nobody", 4, "properties.0.credential: unknown credential 'nobody'"),
        ("reports: [by_page]", "reports: [nope]", 4, "properties.0.reports.0: unknown report 'nope'"),
        ("service_account", "robot", 2, "credentials.0.type: "),
        ("dimensions: [date, page]", "dimensions: [date, colour]", 6, "unknown 'colour'"),
        ("search_types: [web]", "search_types: [discover], data_state: hourly_all", 6, "hour dimension"),
        ("[date, page], search_types: [web]", "[query], search_types: [discover]", 6, "cannot be grouped by query"),
        ("name: by_page", "name: runs", 6, "'runs' is a table"),
        ('"sc-domain:example.com"', "example.com", 4, "properties.0.url: "),
        ("file: acme.json", "fiel: acme.json", 2, "credentials.0.file: Field required"),
        ("reports:\n", "reports: [\n", 6, ""),
    ],
)
def test_a_bad_catalog_is_told_with_line_and_field(tmp_path: Path, old: str, new: str, line: int, text: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG.replace(old, new))
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert text in str(caught.value)
    if text:
        assert f"catalog.yaml:{line}: " in str(caught.value)


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"):
        read_catalog(tmp_path / "nope.yaml")

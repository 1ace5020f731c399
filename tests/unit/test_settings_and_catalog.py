from pathlib import Path

import pytest

from fetcher.settings import FetcherSettings
from pipeline.catalog import CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.settings import SettingsError, kafka_configuration, misspelt, read_settings
from producer.settings import ProducerSettings

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
    settings = read_settings(FetcherSettings, {**GOOD, "GSC_MAX_CONCURRENCY": "1", "GSC_SITE_QPM": ""})
    assert (settings.max_concurrency, settings.max_in_flight, settings.site_qpm) == (1, 10, 1200)
    assert settings.quota_headroom == 0.8


def test_librdkafka_settings_by_name() -> None:
    assert kafka_configuration({**GOOD, "GSC_KAFKA_SASL_USERNAME": "u", "OTHER": "x"}) == {
        "bootstrap.servers": "k:9092",
        "sasl.username": "u",
    }


def test_every_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(
            FetcherSettings, {"GSC_MAX_CONCURRENCY": "0", "GSC_QUOTA_HEADROOM": "much", "GSC_API_ROOT": "ftp://x"}
        )
    told = {line.partition(":")[0] for line in caught.value.problems}
    assert told == {
        "GSC_KAFKA_BOOTSTRAP_SERVERS",
        "GSC_CATALOG",
        "GSC_MAX_CONCURRENCY",
        "GSC_QUOTA_HEADROOM",
        "GSC_API_ROOT",
    }
    assert any("got '0'" in line for line in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("GSC_API_ROOT", "http://[::1", "not a URL"),
        ("GSC_API_ROOT", "http://localhost:abc", "not a URL"),
        ("GSC_API_ROOT", "http://localhost:99999", "the port is not from 1 to 65535"),
        ("GSC_API_ROOT", "http://a..b", "not a URL"),
        ("GSC_API_ROOT", "http://localhost?x=1", "no query"),
        ("GSC_SESSION_TIMEOUT_S", "nan", "finite"),
        ("GSC_SESSION_TIMEOUT_S", "1e12", "less than or equal to 60"),
        ("GSC_HTTP_TIMEOUT_S", "inf", "finite"),
        ("GSC_DRAIN_S", "1e12", "less than or equal to 3600"),
        ("GSC_SITE_QPS", "nan", "finite"),
        ("GSC_MAX_CONCURRENCY", "1000000", "less than or equal to 2000"),
        ("GSC_DEAD_LETTER_RATIO", "1e-300", "greater than or equal to 0.001"),
        ("GSC_DAILY_CRON", "30 5 * *", "not a line of cron with five fields"),
        ("GSC_DAILY_CRON", "0 0 31 2 *", "no day is like that"),
        ("GSC_DAILY_CRON", "* * * * * *", "seconds, would be every one"),
        ("GSC_KAFKA_SASL_PASSWORD", "\udcff", "not UTF-8"),
    ],
)
def test_a_setting_that_cannot_work_is_told(name: str, value: str, text: str) -> None:
    model = ProducerSettings if name == "GSC_DAILY_CRON" else FetcherSettings
    with pytest.raises(SettingsError) as caught:
        read_settings(model, {**GOOD, "GSC_POSTGRES_DSN": "x", name: value})
    [line] = caught.value.problems
    assert line.startswith(f"{name}: ")
    assert text in line


def test_a_misspelt_setting_is_told_with_its_like() -> None:
    others = {"GSC_VERSION": "1", "GSC_POSTGRES_PORT": "5", "GSC_KAFKA_ANYTHING": "x", "MAX_CONCURENCY": "1"}
    assert misspelt(ProducerSettings, {**GOOD, **others}) == []
    assert misspelt(FetcherSettings, {"GSC_MAX_CONCURENCY": "1"}) == [
        "GSC_MAX_CONCURENCY is no setting; GSC_MAX_CONCURRENCY?"
    ]


def test_a_catalog_is_read_with_files_beside_it(tmp_path: Path) -> None:
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
        ("dimensions: [date, page]", "dimensions: [date, colour]", 6, "reports.0.dimensions: unknown 'colour'"),
        ("[date, page]", "[date, page, date]", 6, "reports.0.dimensions: 'date' is given twice"),
        ("[date, page]", "[]", 6, "reports.0.dimensions: none are given"),
        (
            "search_types: [web]",
            "search_types: [discover], data_state: hourly_all",
            6,
            "dimensions: the hour dimension",
        ),
        ("[date, page], search_types: [web]", "[query], search_types: [discover]", 6, "cannot be grouped by query"),
        ("[web]", "[web, web]", 6, "reports.0.search_types: 'web' is given twice"),
        ("search_types: [web]", "retention: 99999999999", 6, "reports.0.retention: "),
        ("name: by_page", "name: runs", 6, "'runs' is a table"),
        ("[by_page]", "[]", 4, "properties.0.reports: none are given"),
        ("example.com", "exa\\0mple.com", 4, "properties.0.url: neither sc-domain:NAME nor"),
        ("id: acme", "id: 2026-99-99", 2, "'2026-99-99': month must be in 1..12"),
        ("id: acme", "id: 0x_", 2, "'0x_': invalid literal"),
        ("id: acme", "id: !!bool x", 2, "'x'"),
        ("id: acme", "id: acme, id: other", 2, "'id' is given twice"),
        ("reports:\n", "properties:\n", 5, "'properties' is given twice"),
        ("credentials:\n", "credentials: !!set\n", 1, "expected a mapping node"),
        ("credentials:\n", "credentials: []\nothers:\n", 1, "credentials: none are given"),
        (CATALOG, "- a\n", 1, "catalog: must be a mapping of fields"),
        ('"sc-domain:example.com"', "example.com", 4, "properties.0.url: "),
        ("file: acme.json", "fiel: acme.json", 2, "credentials.0.file: Field required"),
        ("reports:\n", "reports: [\n", 6, ""),
    ],
)
def test_a_bad_catalog_is_told_with_line_and_field(tmp_path: Path, old: str, new: str, line: int, text: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG.replace(old, new, 1))
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert text in str(caught.value)
    if text:
        assert f"catalog.yaml:{line}: " in str(caught.value)


def test_one_thing_that_is_wrong_is_one_line(tmp_path: Path) -> None:
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
def test_a_file_that_is_no_catalog(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=text):
        read_catalog(path)


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"):
        read_catalog(tmp_path / "nope.yaml")

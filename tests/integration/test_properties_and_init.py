"""`gsc-stream properties`, `init` and `check`, with what the simulator lists for each credential."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from lab.search_console.server import Simulator
from lab.search_console.settings import Fault, SimulatorSettings, Site, User
from pipeline.catalog_file import read_catalog
from pipeline.report import DEFAULT_REPORTS
from support.simulator import serving

ANN, BOB = "ann@example.com", "bob@example.com"
SHARED, BOBS, UNVERIFIED, APP = "sc-domain:a.com", "https://b.com/ü/", "https://c.com/", "android-app://com.d/"
CATALOG = f"""\
credentials:
  - {{id: ann, type: service_account, file: ann.json}}
  - {{id: bob, type: authorized_user, file: bob.json}}
properties:
  - {{url: "{SHARED}", credential: ann}}
"""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    sites = (
        Site(url=SHARED, users=(ANN, BOB), permissions=((ANN, "siteRestrictedUser"), (BOB, "siteOwner"))),
        Site(url=BOBS, users=(BOB,)),
        Site(url=UNVERIFIED, users=(ANN,), permissions=((ANN, "siteUnverifiedUser"),)),
        Site(url=APP, users=(BOB,)),
    )
    users = (User(id=ANN), User(id=BOB, kind="authorized_user"), User(id="new@example.com"))
    with serving(SimulatorSettings(sites=sites, users=users)) as running:
        yield running


@pytest.fixture
def folder(simulator: Simulator, tmp_path: Path) -> Path:
    for name in ("ann", "bob", "new"):
        info = simulator.engine.tokens.credential_file(f"{name}@example.com", simulator.root)
        (tmp_path / f"{name}.json").write_text(json.dumps(info))
    return tmp_path


def run(simulator: Simulator, *arguments: object, **environment: str) -> Result:
    settings = {"GSC_API_ROOT": simulator.root, "GSC_TOKEN_HOSTS": "http://127.0.0.1", **environment}
    return CliRunner().invoke(main, [str(item) for item in arguments], env=settings)


def test_properties_lists_what_each_credential_can_read(simulator: Simulator, folder: Path) -> None:
    (folder / "catalog.yaml").write_text(CATALOG)
    result = run(simulator, "properties", "--json", GSC_CATALOG=str(folder / "catalog.yaml"))
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert [tuple(record.values()) for record in printed["properties"]] == [
        ("ann", UNVERIFIED, "siteUnverifiedUser", None),
        ("ann", SHARED, "siteRestrictedUser", "ann"),
        ("bob", APP, "siteFullUser", None),
        ("bob", BOBS, "siteFullUser", None),
        ("bob", SHARED, "siteOwner", "ann"),
    ]
    table = run(simulator, "properties", GSC_CATALOG=str(folder / "catalog.yaml")).stdout
    assert all(str(value) in table for record in printed["properties"] for value in record.values() if value)


def test_properties_names_a_credential_whose_list_cannot_be_read(simulator: Simulator, folder: Path) -> None:
    (folder / "catalog.yaml").write_text(CATALOG)
    simulator.engine.tokens.revoked.add(BOB)
    result = run(simulator, "properties", "--json", GSC_CATALOG=str(folder / "catalog.yaml"))
    printed: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {record["credential"] for record in printed["properties"]} == {"ann"}
    assert [(item["credential"], "revoked" in item["problem"]) for item in printed["problems"]] == [("bob", True)]


def test_init_writes_a_catalog_of_what_can_be_read(simulator: Simulator, folder: Path) -> None:
    path = folder / "sub" / "catalog.yaml"
    path.parent.mkdir()
    result = run(simulator, "init", folder / "ann.json", folder / "bob.json", "--catalog", path, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"catalog": str(path), "properties": [BOBS, SHARED]})
    catalog = read_catalog(path)
    assert [(item.id, item.type, item.file and item.file.resolve()) for item in catalog.credentials] == [
        ("ann", "service_account", folder / "ann.json"),
        ("bob", "authorized_user", folder / "bob.json"),
    ]
    assert [(item.url, item.credential) for item in catalog.properties] == [(BOBS, "bob"), (SHARED, "bob")]
    assert catalog.reports == DEFAULT_REPORTS
    comments = [line for line in path.read_text().splitlines() if line.startswith("  # ")]
    assert [(APP in line, UNVERIFIED in line) for line in comments] == [(True, False), (False, True)]


def test_the_reports_in_the_comments_are_the_defaults(simulator: Simulator, folder: Path) -> None:
    path = folder / "catalog.yaml"
    run(simulator, "init", folder / "bob.json", "--catalog", path)
    head, _, reports = path.read_text().partition("# reports:\n")
    path.write_text(f"{head}reports:\n{reports.replace('#   - ', '  - ')}")
    assert read_catalog(path).reports == DEFAULT_REPORTS


def test_init_overwrites_nothing(simulator: Simulator, folder: Path) -> None:
    path = folder / "catalog.yaml"
    path.write_text("mine")
    result = run(simulator, "init", folder / "bob.json", "--catalog", path)
    assert (result.exit_code, path.read_text()) == (2, "mine")
    assert result.stderr == f"--catalog: {path} exists, and is not overwritten\n"


def test_init_writes_nothing_when_a_list_cannot_be_read(simulator: Simulator, folder: Path) -> None:
    simulator.engine.faults.replace((Fault(kind="forbidden", on="sites", user=BOB),))
    result = run(simulator, "init", folder / "ann.json", folder / "bob.json", "--catalog", folder / "catalog.yaml")
    assert result.exit_code == 2
    assert "does not have sufficient permission" in result.stderr
    assert not (folder / "catalog.yaml").exists()


def test_init_says_when_no_property_can_be_read(simulator: Simulator, folder: Path) -> None:
    for name in ("new", "ann"):
        simulator.engine.settings = SimulatorSettings(sites=simulator.engine.settings.sites[2:], users=())
        result = run(simulator, "init", folder / f"{name}.json", "--catalog", folder / "catalog.yaml")
        assert (result.exit_code, result.stderr.partition(":")[0]) == (2, f"no property can be read by {name}")
        assert not (folder / "catalog.yaml").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "type: must be one of service_account, authorized_user, external_account, got 'None'"),
        ('{"type": "robot"}', "got 'robot'"),
        ('{"installed": {"client_id": "x", "client_secret": "secret"}}', "`gsc-stream login` makes a credential"),
        ('{"web": {"client_id": "x", "client_secret": "secret"}}', "the client secrets of an OAuth client"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_one_line(
    simulator: Simulator, folder: Path, content: str | None, message: str
) -> None:
    file = folder / "key.json"
    if content is not None:
        file.write_text(content)
    result = run(simulator, "init", file, "--catalog", folder / "catalog.yaml")
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"KEY_FILE: {file}: ")
    assert message in line
    assert '"secret"' not in line


def test_key_files_of_the_same_name_are_refused(simulator: Simulator, folder: Path) -> None:
    (folder / "sub").mkdir()
    result = run(simulator, "init", folder / "ann.json", folder / "sub" / ".." / "ann.json", "--catalog", "x.yaml")
    assert result.exit_code == 2
    assert "two credentials would have the id 'ann'" in result.stderr


def test_check_names_a_property_that_the_credential_may_only_see(simulator: Simulator, folder: Path) -> None:
    (folder / "catalog.yaml").write_text(CATALOG.replace(SHARED, UNVERIFIED))
    servers = {"GSC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "GSC_POSTGRES_DSN": "postgresql://gsc@127.0.0.1:1/gsc"}
    result = run(simulator, "check", "--json", GSC_CATALOG=str(folder / "catalog.yaml"), **servers)
    problems = {item["credential"]: item["problem"] for item in json.loads(result.stdout)["checks"]}
    assert (problems["ann"], problems["bob"]) == (f"cannot read {UNVERIFIED}", None)


def test_init_with_application_default_credentials(simulator: Simulator, folder: Path) -> None:
    path = folder / "catalog.yaml"
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / "bob.json")}
    result = run(simulator, "init", "--application-default", "--catalog", path, **environment)
    assert result.exit_code == 0, result.output
    [credential] = read_catalog(path).credentials
    assert (credential.id, credential.type, credential.file) == ("default", "application_default", None)
    assert run(simulator, "init", "--catalog", folder / "x.yaml").stderr.startswith("KEY_FILE: missing")


def add(simulator: Simulator, folder: Path, *options: str) -> Result:
    return run(simulator, "properties", "--add", *options, GSC_CATALOG=str(folder / "catalog.yaml"))


COMMENTED = f"""\
# mine
credentials:
  - {{id: ann, type: service_account, file: ann.json}}
  - {{id: bob, type: authorized_user, file: bob.json}}   # of Bob
properties:   # all of them

    # the first
    - url: "{SHARED}"
      credential: ann  # not bob
reports:
  - {{name: by_date, dimensions: [date]}}
"""


def test_new_properties_are_added_to_a_catalog_whose_text_stays(simulator: Simulator, folder: Path) -> None:
    path = folder / "catalog.yaml"
    path.write_text(COMMENTED)
    path.chmod(0o640)
    result = add(simulator, folder)
    assert (result.exit_code, result.stdout) == (0, f"{path}: added {BOBS}\n")
    entry = f'    - {{url: "{BOBS}", credential: "bob"}}  # siteFullUser\n'
    assert path.read_text() == COMMENTED.replace("# all of them\n", f"# all of them\n{entry}")
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(read_catalog(path).property_by_url) == [BOBS, SHARED]
    changed = path.read_text()
    assert json.loads(add(simulator, folder, "--json").stdout)["added"] == []
    assert path.read_text() == changed
    assert {item.name for item in folder.iterdir()} == {"ann.json", "bob.json", "new.json", "catalog.yaml"}


@pytest.mark.parametrize(
    ("options", "added"),
    [
        (("--include", "sc-domain:*"), []),
        (("--include", "sc-domain:*", "--include", "https://b.com/*"), [BOBS]),
        (("--exclude", "https://*"), []),
        (("--include", "*", "--exclude", "http://*"), [BOBS]),
    ],
)
def test_patterns_choose_what_is_added(
    simulator: Simulator, folder: Path, options: tuple[str, ...], added: list[str]
) -> None:
    (folder / "catalog.yaml").write_text(CATALOG)
    assert json.loads(add(simulator, folder, *options, "--json").stdout)["added"] == added
    assert len(read_catalog(folder / "catalog.yaml").properties) == 1 + len(added)


@pytest.mark.parametrize(
    "properties",
    [
        f'properties: [{{url: "{SHARED}", credential: ann}}]\n',
        f'properties: [\n  {{url: "{SHARED}", credential: ann}},\n]\n',
    ],
)
def test_a_list_in_brackets_is_not_added_to(simulator: Simulator, folder: Path, properties: str) -> None:
    text = CATALOG[: CATALOG.index("properties:")] + properties
    (folder / "catalog.yaml").write_text(text)
    result = add(simulator, folder)
    assert result.exit_code == 2
    assert result.stderr == (
        f"{folder}/catalog.yaml:4: cannot add to `properties`: write it as a list with one `- {{url: ...}}` per line\n"
    )
    assert (folder / "catalog.yaml").read_text() == text


def test_a_credential_whose_list_cannot_be_read_stops_no_other(simulator: Simulator, folder: Path) -> None:
    (folder / "catalog.yaml").write_text(CATALOG)
    simulator.engine.tokens.revoked.add(ANN)
    result = add(simulator, folder)
    assert result.exit_code == 1
    assert "revoked" in result.stderr
    assert list(read_catalog(folder / "catalog.yaml").property_by_url) == [BOBS, SHARED]


def test_patterns_need_add(simulator: Simulator, folder: Path) -> None:
    (folder / "catalog.yaml").write_text(CATALOG)
    result = run(simulator, "properties", "--include", "x", GSC_CATALOG=str(folder / "catalog.yaml"))
    assert (result.exit_code, result.stderr) == (2, "--include and --exclude need --add\n")

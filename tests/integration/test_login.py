"""`gsc-stream login`, with the simulator's page of consent and a browser that follows its redirect."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from cli.__main__ import main
from fetcher.credential_file import read_client_secrets
from fetcher.token_hosts import TokenHosts
from lab.search_console.server import Simulator
from lab.search_console.settings import SimulatorSettings, Site, User
from pipeline.errors import Invalid
from support.simulator import serving

ANN = "ann@example.com"
URL = "sc-domain:a.com"
COMMAND = Path(sys.executable).with_name("gsc-stream")
EVIL = {
    "client_id": "x",
    "client_secret": "s",
    "auth_uri": "https://accounts.google.com/o/oauth2/auth",
    "token_uri": "https://evil.example/token",
}
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/o/oauth2/auth\?\S+")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    users = (User(id="robot@example.com"), User(id=ANN, kind="authorized_user"))
    with serving(SimulatorSettings(sites=(Site(url=URL, users=(ANN,)),), users=users)) as running:
        yield running


@pytest.fixture
def secrets(simulator: Simulator, tmp_path: Path) -> Path:
    file = tmp_path / "client_secret.json"
    file.write_text(json.dumps(simulator.engine.tokens.client_secrets(simulator.root)))
    return file


@pytest.fixture
def environment(simulator: Simulator) -> dict[str, str]:
    return {
        **os.environ,
        "GSC_API_ROOT": simulator.root,
        "GSC_TOKEN_HOSTS": "http://127.0.0.1",
        "OAUTHLIB_INSECURE_TRANSPORT": "1",  # of oauthlib: the simulator has no TLS
    }


class Login:
    """The command as a process, since its browser calls it back while it waits."""

    def __init__(self, environment: dict[str, str], *arguments: object) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "login", "--no-browser", *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def address(self) -> str:
        """The address of the consent, which the command prints."""
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            if found := ADDRESS.search(line):
                return found[0]
        raise AssertionError("the command ended without an address")

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def test_consent_gives_a_key_file_that_init_and_the_fetcher_read(
    simulator: Simulator, environment: dict[str, str], secrets: Path, tmp_path: Path
) -> None:
    output, catalog = tmp_path / "ann.json", tmp_path / "catalog.yaml"
    login = Login(environment, secrets, "--output", output, "--json")
    address = login.address()
    assert "webmasters.readonly" in address
    assert "code_challenge_method=S256" in address
    assert "You can close this window" in httpx.get(address, follow_redirects=True).text
    code, out, _ = login.end()
    assert (code, json.loads(out)) == (0, {"file": str(output), "type": "authorized_user"})
    assert output.stat().st_mode & 0o777 == 0o600
    assert json.loads(output.read_text()) == simulator.engine.tokens.credential_file(ANN, simulator.root)
    result = CliRunner().invoke(main, ["init", str(output), "--catalog", str(catalog)], env=environment)
    assert result.exit_code == 0, result.output
    assert URL in catalog.read_text()


def test_a_person_who_refuses_gives_no_key_file(
    simulator: Simulator, environment: dict[str, str], secrets: Path, tmp_path: Path
) -> None:
    simulator.engine.tokens.revoked.add(ANN)
    login = Login(environment, secrets, "--output", tmp_path / "ann.json")
    httpx.get(login.address(), follow_redirects=True)
    code, out, err = login.end()
    assert (code, out) == (1, "")
    assert "Google did not issue a credential: (access_denied)" in err
    assert not (tmp_path / "ann.json").exists()


def test_a_code_is_worth_nothing_without_its_proof(
    simulator: Simulator, environment: dict[str, str], secrets: Path, tmp_path: Path
) -> None:
    login = Login(environment, secrets, "--output", tmp_path / "ann.json")
    address = re.sub("code_challenge=[^&]+", "code_challenge=another", login.address())
    httpx.get(address, follow_redirects=True)
    assert login.end()[0] == 1
    assert not (tmp_path / "ann.json").exists()


def test_the_wait_for_a_consent_ends(environment: dict[str, str], secrets: Path, tmp_path: Path) -> None:
    login = Login(environment, secrets, "--output", tmp_path / "ann.json", "--timeout", 1)
    code, out, err = login.end()
    assert (code, out) == (1, "")
    assert err.endswith("there was no consent within 1 seconds\n")


def test_login_overwrites_nothing(environment: dict[str, str], secrets: Path) -> None:
    before = secrets.read_text()
    result = CliRunner().invoke(main, ["login", str(secrets), "--output", str(secrets)], env=environment)
    assert (result.exit_code, result.stderr) == (2, f"--output: {secrets} exists, and is not overwritten\n")
    assert secrets.read_text() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "Expecting"),
        ("[]", "not the client secrets of an OAuth client of the type 'Desktop app'"),
        ('{"web": {}}', "of the type 'Desktop app'"),
        ('{"installed": {"client_id": "x"}}', "client_secret: missing"),
        (
            '{"installed": {"client_id": "x", "client_secret": "s", "auth_uri": 5, "token_uri": "y"}}',
            "auth_uri: must be",
        ),
        (json.dumps({"installed": EVIL}), "token_uri: not one of Google's hosts over https"),
    ],
)
def test_client_secrets_that_cannot_be_used_are_reported(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "client_secret.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Invalid) as caught:
        read_client_secrets(file, TokenHosts())
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)

"""`gsc-stream login`: a credential of a person, by consent in a browser."""

import json
import os
import sys
import webbrowser
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
import requests
from google_auth_oauthlib.flow import InstalledAppFlow, WSGITimeoutError
from oauthlib.oauth2 import OAuth2Error

from cli.context import fail, read_environment
from cli.options import json_option
from cli.output import print_json
from fetcher.credential_file import SCOPE, read_client_secrets
from fetcher.settings import GoogleSettings
from pipeline.errors import Invalid
from pipeline.process import EXIT_FAILED

_SUCCESS = "gsc-stream has its credential. You can close this window."


@click.command()
@click.argument("client_secrets", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Key file to write; it must not exist.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Local port of the answer.  [default: a free one]"
)
@click.option("--no-browser", is_flag=True, help="Print the address of the consent instead of opening a browser.")
@click.option(
    "--timeout", default=300, show_default=True, type=click.IntRange(1, 3600), help="Seconds to wait for the consent."
)
@json_option
def login(client_secrets: Path, output: Path, port: int, no_browser: bool, timeout: int, as_json: bool) -> None:
    """Ask a person for consent in a browser, and write the key file of an authorized_user.

    CLIENT_SECRETS is the file of an OAuth client of the type "Desktop app", from the Google Cloud console. The key file
    can be read by its owner only.

    \b
    Examples:
      gsc-stream login client_secret.json --output ann.json
      gsc-stream init ann.json
    """
    settings = read_environment(GoogleSettings)
    if output.exists():
        fail(f"--output: {output} exists, and is not overwritten", field="--output")
    try:
        secrets = read_client_secrets(client_secrets, settings.allowed_token_hosts)
    except Invalid as error:
        fail(f"CLIENT_SECRETS: {error}", field="CLIENT_SECRETS")
    _write(output, _consent(secrets, port, open_browser=not no_browser and _has_browser(), timeout_s=timeout))
    if as_json:
        print_json({"file": str(output), "type": "authorized_user"})
    else:
        click.echo(f"{output}: a credential of type authorized_user. Next: gsc-stream init {output}")


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _consent(secrets: dict[str, Any], port: int, *, open_browser: bool, timeout_s: int) -> Any:
    """Return google-auth's credentials after the consent; exit with 1 when there is none."""
    flow = InstalledAppFlow.from_client_config(secrets, scopes=[SCOPE])
    try:
        with redirect_stdout(sys.stderr):
            # Without `prompt`, Google issues a refresh token for the first consent only.
            return flow.run_local_server(
                port=port,
                open_browser=open_browser,
                timeout_seconds=timeout_s,
                success_message=_SUCCESS,
                prompt="consent",
            )
    except WSGITimeoutError:
        fail(f"there was no consent within {timeout_s} seconds", EXIT_FAILED)
    except (OAuth2Error, requests.RequestException) as error:
        fail(f"Google did not issue a credential: {' '.join(str(error).split())}", EXIT_FAILED)
    except OSError as error:
        fail(f"--port: {port}: {error.strerror or error}", field="--port")
    except Warning:  # of oauthlib, when the granted scopes are not the requested ones
        fail("the consent does not include the permission to read Search Console data", EXIT_FAILED)


def _write(output: Path, credentials: Any) -> None:
    """Write the key file, which only its owner can read; exit with 2 when it cannot be created."""
    content = {
        "type": "authorized_user",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "refresh_token": credentials.refresh_token,
        "token_uri": credentials.token_uri,
    }
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
    except OSError as error:
        fail(f"--output: {output}: {error.strerror}", field="--output")

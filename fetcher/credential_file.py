"""The key files of credentials, as Google issues them: read, checked, and built into google-auth's objects."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import google.auth
from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import credentials as authorized_user
from google.oauth2 import service_account

from fetcher.token_hosts import TokenHosts
from pipeline.catalog import Credential
from pipeline.errors import Invalid

SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
REQUIRED_TEXTS = {
    "service_account": ("client_email", "private_key", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url"),
}
"""Fields that a file of each type must have. Errors never contain their values, since some are secret."""
ADDRESSES = ("token_uri", "token_url", "token_info_url", "service_account_impersonation_url")
"""Fields with an address that google-auth calls, with secrets. The same holds for `credential_source.url`."""


_CLIENT_SECRETS = (
    "the client secrets of an OAuth client, not a credential; `gsc-stream login` makes a credential with them"
)


def load_credential(credential: Credential, hosts: TokenHosts) -> Any:
    """Return google-auth's credentials. Raises Invalid with the place in the catalog and the file."""
    file = credential.file or _default_file()
    try:
        if file is None:
            return google.auth.default(scopes=[SCOPE])[0]
        return _build(_read(credential, file, hosts), credential.subject)
    except (AttributeError, LookupError, TypeError, ValueError, GoogleAuthError) as error:
        name = file or "Application Default Credentials"
        raise Invalid(f"{name}: {' '.join(str(error).split())}", field=credential.key_field) from error


def _default_file() -> Path | None:
    """Return the file of Application Default Credentials that the environment names, or None.

    With a file of its own choice google-auth would ignore the `token_uri`, and ask for the name of the project.
    """
    name = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")  # noqa: TID251 - that is what these credentials are
    return Path(name) if name else None


def type_of_key_file(path: Path) -> str:
    """Return the type of credential that a key file names. Raises Invalid."""
    try:
        return _type(_content(path))
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"{path}: {error}") from error


def _type(info: Mapping[str, Any]) -> str:
    """Return the type that a file names. Raises ValueError."""
    if (kind := info.get("type")) not in REQUIRED_TEXTS:
        raise ValueError(f"type: must be one of {', '.join(REQUIRED_TEXTS)}, got {str(kind)[:50]!r}")
    return str(kind)


def read_client_secrets(path: Path, hosts: TokenHosts) -> dict[str, Any]:
    """Return the content of a file of client secrets, for an application on the user's machine. Raises Invalid."""
    try:
        content = json.loads(path.read_bytes())
        info = content["installed"]
        _check_texts(info, ("client_id", "client_secret", "auth_uri", "token_uri"))
        _check_addresses(info, hosts, ("auth_uri", "token_uri"))
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error
    except (LookupError, TypeError, RecursionError) as error:
        raise Invalid(f"{path}: not the client secrets of an OAuth client of the type 'Desktop app'") from error
    except ValueError as error:
        raise Invalid(f"{path}: {error}") from error
    return {"installed": info}


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a key file. Raises OSError or ValueError."""
    try:
        info = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(info, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the value of a file is wrong, not a type
    if "installed" in info or "web" in info:
        raise ValueError(_CLIENT_SECRETS)
    return info


def _read(credential: Credential, file: Path, hosts: TokenHosts) -> dict[str, Any]:
    """Return the content of a credential's file. Raises Invalid or ValueError."""
    try:
        info = _content(file)
    except FileNotFoundError as error:
        raise Invalid(f"no such file: {file}", field=credential.key_field) from error
    except OSError as error:
        raise ValueError(error.strerror) from error
    kind = _type(info) if credential.file is None else credential.type
    if info.get("type", kind) != kind:
        raise ValueError(f"not a file of type {kind}, but of type {str(info['type'])[:50]}")
    _check_texts(info, REQUIRED_TEXTS[kind])
    _check_addresses(info, hosts)
    return {**info, "type": kind}


def _check_texts(info: Mapping[str, Any], required: Iterable[str]) -> None:
    """Raise ValueError when a required field is missing."""
    for name in required:
        if not isinstance(info.get(name), str) or not info[name]:
            raise ValueError(f"{name}: must be non-empty text" if name in info else f"{name}: missing")


def _check_addresses(info: Mapping[str, Any], hosts: TokenHosts, names: Iterable[str] = ADDRESSES) -> None:
    """Raise ValueError when an address must not be called."""
    source = info.get("credential_source")
    if not isinstance(source, dict):
        source = {}  # google-auth refuses it with an error of its own
    if not isinstance(source.get("file", ""), str):
        raise ValueError("credential_source.file: must be text")  # noqa: TRY004 - the value of a file is wrong, not a type
    addresses = {name: info.get(name) for name in names} | {"credential_source.url": source.get("url")}
    for name, address in addresses.items():
        if address is not None and (problem := hosts.problem(address)):
            raise ValueError(f"{name}: {problem}, got {address!r}")


def _build(info: dict[str, Any], subject: str | None) -> Any:
    if info["type"] == "service_account":
        return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE], subject=subject)
    if info["type"] == "external_account":
        return identity_pool.Credentials.from_info(info, scopes=[SCOPE])
    # google-auth's own reader ignores the file's token_uri. No scopes: a refresh with scopes that are not an exact
    # subset of the granted ones fails (RFC 6749, section 6).
    return authorized_user.Credentials(
        token=None,
        refresh_token=info["refresh_token"],
        token_uri=info.get("token_uri", TOKEN_URI),
        client_id=info["client_id"],
        client_secret=info["client_secret"],
    )


def credential_problems(credentials: Iterable[Credential], hosts: TokenHosts) -> list[str]:
    """Return a line for each key file that cannot be used."""
    problems = []
    for credential in credentials:
        try:
            load_credential(credential, hosts)
        except Invalid as error:
            problems.append(str(error))
    return problems

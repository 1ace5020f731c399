"""The simulator's keys and tokens: how long they are valid, and what survives a restart."""

import stat
from pathlib import Path

import pytest

from lab.search_console.keys import Keys
from lab.search_console.refusals import Refused
from lab.search_console.settings import User
from lab.search_console.tokens import Tokens

PERSON, WORKLOAD = User(id="ann", kind="authorized_user"), User(id="job", kind="external_account")
ROOT = "http://sim"


def some_tokens(keys: Keys | None = None, promise_s: int | None = None) -> Tokens:
    return Tokens((PERSON, WORKLOAD), 60, keys or Keys(), promise_s=promise_s)


def a_form(tokens: Tokens) -> dict[str, str]:
    info = tokens.credential_file("ann", ROOT)
    return {"client_id": info["client_id"], "refresh_token": info["refresh_token"]}


def exchanged(tokens: Tokens, now: float) -> str:
    audience = tokens.credential_file("job", ROOT)["audience"]
    form = {"subject_token": tokens.subject_token("job"), "audience": audience}
    return f"Bearer {tokens.exchange(form, now)['access_token']}"


def test_a_token_is_valid_until_it_expires() -> None:
    tokens = some_tokens()
    answer = tokens.grant(a_form(tokens), 1000.0)
    bearer = f"Bearer {answer['access_token']}"
    assert answer["expires_in"] == 60
    assert tokens.user_of(bearer, 1059.9) == "ann"
    assert tokens.user_of(bearer, 1060.0) is None


def test_a_token_may_be_refused_earlier_than_promised() -> None:
    tokens = some_tokens(promise_s=3600)
    answer = tokens.grant(a_form(tokens), 1000.0)
    assert answer["expires_in"] == 3600
    assert tokens.user_of(f"Bearer {answer['access_token']}", 1060.0) is None


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer a.b", "Basic x", "Bearer \udcff.\udcff", "Bearer é.é"])
def test_a_token_that_was_not_issued_is_refused(header: str) -> None:
    assert some_tokens().user_of(header, 0.0) is None


def test_a_forged_token_or_one_of_another_kind_is_refused() -> None:
    tokens = some_tokens()
    token = tokens.grant(a_form(tokens), 0.0)["access_token"]
    assert tokens.user_of(token, 1.0) is None
    assert tokens.user_of(f"Bearer x{token}", 1.0) is None
    assert tokens.user_of(exchanged(tokens, 0.0), 1.0) is None


def test_an_exchanged_token_expires_too() -> None:
    tokens = some_tokens()
    bearer, body = exchanged(tokens, 0.0), {"scope": ["https://www.googleapis.com/auth/webmasters.readonly"]}
    token = tokens.impersonate("job", bearer, body, 59.0)["accessToken"]
    assert tokens.user_of(f"Bearer {token}", 118.0) == "job"
    with pytest.raises(Refused, match="denied"):
        tokens.impersonate("job", bearer, body, 60.0)
    with pytest.raises(Refused, match="denied"):
        tokens.impersonate("ann", bearer, body, 1.0)


@pytest.mark.parametrize("body", [None, [], {}, {"scope": 7}, {"scope": ["x"]}])
def test_an_impersonation_without_the_scope_is_refused(body: object) -> None:
    tokens = some_tokens()
    with pytest.raises(Refused, match="scope"):
        tokens.impersonate("job", exchanged(tokens, 0.0), body, 1.0)


@pytest.mark.parametrize("assertion", ["", "x", "a.b.c", "é.é.é", ".W10.", ".eyJpc3MiOiAibm9ib2R5In0.x"])
def test_an_invalid_assertion_is_refused(assertion: str) -> None:
    tokens = some_tokens()
    with pytest.raises(Refused, match="Invalid JWT") as caught:
        tokens.grant({"assertion": assertion}, 0.0)
    assert (caught.value.status, caught.value.reason) == (400, "invalid_grant")


def test_scopes_that_were_not_granted_are_refused() -> None:
    tokens = some_tokens()
    with pytest.raises(Refused) as caught:
        tokens.grant({**a_form(tokens), "scope": "https://www.googleapis.com/auth/webmasters"}, 0.0)
    assert caught.value.reason == "invalid_scope"


def test_saved_keys_survive_a_restart(tmp_path: Path) -> None:
    before, after, other = (some_tokens(Keys(folder)) for folder in (tmp_path / "a", tmp_path / "a", tmp_path / "b"))
    bearer = f"Bearer {before.grant(a_form(before), 0.0)['access_token']}"
    assert after.credential_file("ann", ROOT) == before.credential_file("ann", ROOT)
    assert after.subject_token("job") == before.subject_token("job")
    assert after.user_of(bearer, 1.0) == "ann"
    assert other.user_of(bearer, 1.0) is None
    assert other.credential_file("ann", ROOT) != before.credential_file("ann", ROOT)


def test_only_the_owner_can_read_key_files(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    key = Keys(folder).private("../a@b")
    assert Keys(folder).private("../a@b").private_numbers() == key.private_numbers()
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "secret": 0o600,
        "..%2Fa%40b.pem": 0o600,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_invalid_key_file_is_an_error(tmp_path: Path) -> None:
    Keys(tmp_path)
    (tmp_path / "ann.pem").write_bytes(b"not a key")
    with pytest.raises(ValueError, match="PEM"):
        Keys(tmp_path).private("ann")

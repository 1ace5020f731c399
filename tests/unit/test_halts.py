"""Halts and their scopes."""

import json
from datetime import timedelta
from typing import Any

import pytest

from pipeline.contracts.halts import Halts, build_control, parse_scope, scopes_of
from pipeline.contracts.messages import Control
from pipeline.errors import Invalid
from support.examples import NOW, a_batch


def a_control(scope: str, state: Any = "halted", **changes: Any) -> Control:
    return Control(scope=scope, state=state, reason="r", actor="a", at=NOW, **changes)


@pytest.mark.parametrize(
    "scope", ["all", "project:default", "credential:acme", "property:sc-domain:example.com", "run:run-1"]
)
def test_a_halt_of_any_scope_of_a_batch_blocks_it(scope: str) -> None:
    halts = Halts()
    assert halts.blocking(scopes_of(a_batch()), NOW) is None
    assert halts.apply(a_control(scope))
    assert halts.blocking(scopes_of(a_batch()), NOW) == a_control(scope)
    other = a_batch(project="x", credential="x", property="https://x.com/", run_id="x")
    assert (halts.blocking(scopes_of(other), NOW) is None) == (scope != "all")


def test_the_newest_record_of_a_scope_wins() -> None:
    halts = Halts()
    records = (a_control("all"), a_control("all"), a_control("all", "running"))
    assert [halts.apply(record) for record in records] == [True, False, True]
    assert halts.active(NOW) == []


def test_a_halt_with_an_end_expires() -> None:
    halts = Halts()
    halts.apply(a_control("all", until=NOW + timedelta(minutes=15)))
    assert halts.blocking(["all"], NOW + timedelta(minutes=14, seconds=59)) is not None
    assert halts.blocking(["all"], NOW + timedelta(minutes=15)) is None


def test_a_tombstone_resumes_the_scope() -> None:
    halts = Halts()
    halts.apply(a_control("all"))
    assert halts.forget("all")
    assert not halts.forget("all")
    assert halts.active(NOW) == []


@pytest.mark.parametrize("text", ["", "everything", "property:", ":x", "site:x"])
def test_an_unknown_scope_is_invalid(text: str) -> None:
    with pytest.raises(Invalid, match="known: all, project:ID, credential:ID, property:URL, run:ID"):
        parse_scope(text)


def test_an_expired_budget_halt_is_on_trial_until_the_scope_is_resumed() -> None:
    halts, end = Halts(), NOW + timedelta(minutes=15)
    scopes = scopes_of(a_batch())
    for scope, cause in (("all", "operator"), ("property:sc-domain:example.com", "budget")):
        halts.apply(a_control(scope, until=end, cause=cause))
    assert halts.ended_budget_halt(scopes, NOW) is None
    trial = halts.ended_budget_halt(scopes, end)
    assert trial is not None
    assert trial.scope == "property:sc-domain:example.com"
    halts.apply(a_control(trial.scope, "running", cause="budget"))
    assert halts.ended_budget_halt(scopes, end) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scope": "planet:mars", "reason": "x"}, "scope: unknown scope 'planet:mars'; known: all"),
        ({"scope": "all"}, "reason: missing"),
        ({"scope": "all", "reason": "x", "until": "2026-03-10T11:00:00+00:00"}, "until: .* is in the past"),
        ({"scope": "all", "reason": "x", "until": "2026-03-10T13:00:00"}, "until: .* has no offset from UTC"),
        ({"scope": "all", "reason": "x", "until": "soon"}, "until: must be a time, such as"),
        ({"scope": "all", "reason": "x", "state": "stopped"}, "state: Invalid enum value 'stopped'"),
        ({"reason": "x"}, "scope: missing"),
        ({"scope": "all", "reason": "x", "why": 1}, "why: unknown field; known: scope, state, reason, until"),
    ],
)
def test_an_invalid_control_command_is_refused(fields: dict[str, Any], message: str) -> None:
    for form in (fields, json.dumps(fields).encode()):
        with pytest.raises(Invalid, match=message):
            build_control(form, now=NOW, actor="a")


def test_a_control_command_becomes_a_record() -> None:
    fields = {"scope": "run:r", "reason": "why", "until": "2026-03-10T13:00:00+00:00"}
    control = build_control(fields, now=NOW, actor="http")
    assert control == Control(
        scope="run:r", state="halted", reason="why", actor="http", at=NOW, until=NOW + timedelta(hours=1)
    )
    assert build_control({"scope": "all", "state": "running"}, now=NOW, actor="a").state == "running"

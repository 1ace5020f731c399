"""Halt scopes (`all`, `project:ID`, `credential:ID`, `property:URL`, `run:ID`) and the halts that are active. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from pipeline.contracts.codec import parse_fields
from pipeline.contracts.messages import YEARS, Batch, Control, Name
from pipeline.contracts.resources import HaltRecord
from pipeline.contracts.text import to_second
from pipeline.errors import Invalid

ALL = "all"
KINDS = ("project", "credential", "property", "run")


def parse_scope(text: str) -> str:
    """Return the scope unchanged. Raises Invalid, with the known forms, if it is not one."""
    if is_scope(text):
        return text
    raise Invalid(f"unknown scope {text!r}; known: all, project:ID, credential:ID, property:URL, run:ID", field="scope")


def is_scope(text: str) -> bool:
    """Return whether a text has the form of a scope."""
    kind, _, name = text.partition(":")
    return text == ALL or (kind in KINDS and name != "")


def halted_names(halts: Iterable[Control], kind: str) -> frozenset[str]:
    """Return the names in the scopes of a kind, of halts that are active."""
    scopes = (halt.scope.partition(":") for halt in halts)
    return frozenset(name for scope_kind, _, name in scopes if scope_kind == kind)


def credential_scopes(credential: str, project: str) -> tuple[str, ...]:
    """Return every scope that contains all batches of a credential of a Google Cloud project, the widest first."""
    return (ALL, f"project:{project}", f"credential:{credential}")


def scopes_of(batch: Batch) -> tuple[str, ...]:
    """Return every scope that contains a batch, the widest first."""
    return (*credential_scopes(batch.credential, batch.project), f"property:{batch.property}", f"run:{batch.run_id}")


class Halts:
    """The newest control record of each scope. The newest is the last in the topic, whatever its time says."""

    def __init__(self) -> None:
        self._states: dict[str, Control] = {}

    def apply(self, control: Control) -> bool:
        """Replace the record of a scope. Return whether it changed."""
        if self._states.get(control.scope) == control:
            return False
        self._states[control.scope] = control
        return True

    def forget(self, scope: str) -> bool:
        """Remove the record of a scope, for a tombstone. Return whether there was one."""
        return self._states.pop(scope, None) is not None

    def record_of(self, scope: str) -> Control | None:
        """Return the newest record of a scope, active or not, or None."""
        return self._states.get(scope)

    def blocking(self, scopes: Iterable[str], now: datetime) -> Control | None:
        """Return the active halt of the first halted scope in the order given, or None."""
        return next(
            (control for scope in scopes if (control := self._states.get(scope)) and is_active(control, now)), None
        )

    def ended_budget_halt(self, scopes: Iterable[str], now: datetime) -> Control | None:
        """Return the budget halt of one of the scopes that has ended without a successful call since, or None."""
        controls = (self._states.get(scope) for scope in scopes)
        return next(
            (c for c in controls if c and c.cause == "budget" and c.state == "halted" and not is_active(c, now)), None
        )

    def active(self, now: datetime) -> list[Control]:
        """Return every active halt, sorted by scope."""
        return sorted((c for c in self._states.values() if is_active(c, now)), key=lambda control: control.scope)


class _ControlFields(msgspec.Struct, forbid_unknown_fields=True):
    """The fields that an operator sets."""

    scope: Name
    state: Literal["running", "halted"] = "halted"
    reason: str = ""
    until: datetime | None = None


def build_control(fields: Mapping[str, Any] | bytes, *, now: datetime, actor: str) -> Control:
    """Return a control record from JSON or from fields. Raises Invalid, with the name of the field that is wrong."""
    requested = parse_fields(_ControlFields, fields)
    if requested.scope.endswith("*"):
        raise Invalid(f"{requested.scope!r}: wildcards are not supported; name one, or halt all", field="scope")
    if requested.state == "halted" and not requested.reason.strip():
        raise Invalid("missing: give a reason for those who see the halt", field="reason")
    if requested.until is not None:
        _check_end(requested.until, now)
    return Control(
        scope=parse_scope(requested.scope),
        state=requested.state,
        reason=requested.reason,
        actor=actor,
        at=now,
        until=requested.until if requested.state == "halted" else None,
    )


def _check_end(until: datetime, now: datetime) -> None:
    if until.tzinfo is None:
        raise Invalid(f"{until.isoformat()!r} has no offset from UTC, such as Z or +01:00", field="until")
    if until.year not in YEARS:
        raise Invalid(f"the year {until.year} is not from {YEARS.start} to {YEARS.stop - 1}", field="until")
    if until <= now:
        raise Invalid(f"{until.isoformat()!r} is in the past", field="until")


def is_active(control: Control, now: datetime) -> bool:
    """Return whether a record halts its scope at `now`. A halt with an end is inactive from its end on."""
    return control.state == "halted" and (control.until is None or now < control.until)


def end_of(halts: Iterable[Control]) -> datetime | None:
    """Return when the last of some halts ends; None when one has no end. There must be one at least."""
    ends = [halt.until for halt in halts]
    return None if None in ends else max(end for end in ends if end is not None)


def halt_record(control: Control) -> HaltRecord:
    """Return a record as the command line and HTTP show it."""
    until = control.until and to_second(control.until)
    return HaltRecord(
        control.scope, control.state, control.reason, control.actor, to_second(control.at), until, control.cause
    )

"""Halt scopes (`all`, `credential:ID`, `property:URL`, `run:ID`), and which of them are halted. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from pipeline.contracts.codec import parse_fields
from pipeline.contracts.messages import Batch, Control, Name
from pipeline.errors import Invalid

ALL = "all"
KINDS = ("credential", "property", "run")


def parse_scope(text: str) -> str:
    """The scope, unchanged, or Invalid that names the known ones."""
    if is_scope(text):
        return text
    raise Invalid(f"unknown scope {text!r}; known: all, credential:ID, property:URL, run:ID", field="scope")


def is_scope(text: str) -> bool:
    """Whether it is spelt like a scope."""
    kind, colon, rest = text.partition(":")
    return text == ALL or bool(kind in KINDS and colon and rest)


def scopes_of(batch: Batch) -> tuple[str, ...]:
    """Every scope that a batch lies in, the widest first."""
    return (ALL, f"credential:{batch.credential}", f"property:{batch.property}", f"run:{batch.run_id}")


class Halts:
    """The newest control record of each scope; the order of the log decides, not the clock."""

    def __init__(self) -> None:
        self._states: dict[str, Control] = {}

    def apply(self, control: Control) -> bool:
        """Take in one record; True when something changed."""
        if self._states.get(control.scope) == control:
            return False
        self._states[control.scope] = control
        return True

    def forget(self, scope: str) -> bool:
        """Take in a tombstone: the scope runs. True when something changed."""
        return self._states.pop(scope, None) is not None

    def blocking(self, scopes: Iterable[str], now: datetime) -> Control | None:
        """The halt that holds one of the scopes, in the order given, or None."""
        return next(
            (control for scope in scopes if (control := self._states.get(scope)) and is_active(control, now)), None
        )

    def on_trial(self, scopes: Iterable[str], now: datetime) -> Control | None:
        """The ended budget halt of one of the scopes, whose budget is not known to be back; or None."""
        found = (self._states.get(scope) for scope in scopes)
        return next(
            (c for c in found if c and c.cause == "budget" and c.state == "halted" and not is_active(c, now)), None
        )

    def active(self, now: datetime) -> list[Control]:
        """Every halt that holds, by scope."""
        return sorted((c for c in self._states.values() if is_active(c, now)), key=lambda control: control.scope)


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator asks for."""

    scope: Name
    state: Literal["running", "halted"] = "halted"
    reason: str = ""
    until: datetime | None = None


def build_control(fields: Mapping[str, Any] | bytes, *, now: datetime, actor: str) -> Control:
    """A control record from JSON or from fields; raises Invalid with the field's name."""
    order = parse_fields(_Order, fields)
    if order.state == "halted" and not order.reason.strip():
        raise Invalid("missing: say why, for whoever finds the halt", field="reason")
    if order.until is not None:
        _check_end(order.until, now)
    return Control(
        scope=parse_scope(order.scope),
        state=order.state,
        reason=order.reason,
        actor=actor,
        at=now,
        until=order.until if order.state == "halted" else None,
    )


def _check_end(until: datetime, now: datetime) -> None:
    if until.tzinfo is None:
        raise Invalid(f"{until.isoformat()!r} has no offset from UTC", field="until")
    if until <= now:
        raise Invalid(f"{until.isoformat()!r} is in the past", field="until")


def is_active(control: Control, now: datetime) -> bool:
    """Whether the record halts its scope at `now`: a halt with an end is over from then on."""
    return control.state == "halted" and (control.until is None or now < control.until)

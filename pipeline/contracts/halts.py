"""The state of the halts, folded from the records of `gsc.control`. Pure."""

from collections.abc import Iterable
from datetime import datetime

from pipeline.contracts.messages import Control


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
        return next((control for scope in scopes if (control := self._states.get(scope)) and holds(control, now)), None)

    def active(self, now: datetime) -> list[Control]:
        """Every halt that holds, by scope."""
        return sorted((c for c in self._states.values() if holds(c, now)), key=lambda control: control.scope)


def holds(control: Control, now: datetime) -> bool:
    """Whether the record halts its scope at `now`: a halt with an end is over from then on."""
    return control.state == "halted" and (control.until is None or now < control.until)

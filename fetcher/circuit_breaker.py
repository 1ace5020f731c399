"""Circuit breakers for the calls of each credential, and for the API as a whole. Pure: time is an argument.

A circuit opens when every call of its credential fails. While it is open, one call tries now and then whether calls
succeed again; the first success closes it. While the circuits of several credentials are open and nothing succeeds,
the API itself is down: their tries share one schedule, and the first success makes every open circuit try at once.
"""

from dataclasses import dataclass
from typing import NamedTuple

FAILURES_IN_A_ROW = 3
FAILING_S = 10.0
"""Calls in flight may still succeed, so a circuit opens when none is left, or after failures for so long."""
FIRST_TRY_S = 1.0
LONGEST_TRY_S = 15.0
NEVER = float("-inf")


class FailedCall(NamedTuple):
    """A failed call: when and why, and whether other calls of its credential are in flight."""

    at: float
    reason: str
    others_in_flight: bool = False


class Closed(NamedTuple):
    """A circuit that a success has closed, and the seconds for which it was open."""

    credential: str
    seconds: float


@dataclass
class _Tries:
    """When the next call tries whether an outage is over."""

    next_at: float = NEVER
    made: int = 0

    def plan(self, now: float, draw: float) -> None:
        """Plan the next try, later after each one; `draw` is uniform in [0, 1) and spreads the tries by half."""
        pause = min(LONGEST_TRY_S, FIRST_TRY_S * 2.0 ** min(self.made, 10))
        self.next_at = now + pause * (1.0 + draw) / 2
        self.made += 1


@dataclass
class _Circuit:
    tries: _Tries
    failures: int = 0
    """The number of failures since the last success."""
    failing_since: float = NEVER
    """When the first of them was."""
    succeeded_at: float = NEVER
    opened_at: float | None = None
    last_opened_at: float = NEVER
    reason: str = ""

    def add(self, failure: FailedCall) -> None:
        self.failures += 1
        self.reason = failure.reason
        if self.failures == 1:
            self.failing_since = failure.at

    def must_open(self, failure: FailedCall, limit: int) -> bool:
        if self.opened_at is not None or self.failures < limit:
            return False
        return not failure.others_in_flight or failure.at - self.failing_since >= FAILING_S


class CircuitBreaker:
    """The circuits of all credentials that have made calls."""

    def __init__(self) -> None:
        self._circuits: dict[str, _Circuit] = {}
        self._succeeded_at = NEVER
        self._api_is_down = False
        self._api_tries = _Tries()

    def _circuit(self, credential: str) -> _Circuit:
        return self._circuits.setdefault(credential, _Circuit(_Tries()))

    def _tries(self, circuit: _Circuit) -> _Tries:
        return self._api_tries if self._api_is_down else circuit.tries

    def wait(self, credential: str, now: float) -> float:
        """Return the seconds until a call of a credential may start; 0 while its circuit is closed."""
        circuit = self._circuits.get(credential)
        if circuit is None or circuit.opened_at is None:
            return 0.0
        return max(0.0, self._tries(circuit).next_at - now)

    def started(self, credential: str, now: float, draw: float) -> None:
        """Record that a call starts. If the circuit is open, this is the try, and the next one is planned."""
        circuit = self._circuit(credential)
        if circuit.opened_at is not None:
            self._tries(circuit).plan(now, draw)

    def failed(self, credential: str, failure: FailedCall, draw: float) -> bool:
        """Record a failed call; return whether this opens the circuit."""
        circuit = self._circuit(credential)
        circuit.add(failure)
        if not circuit.must_open(failure, 1 if self._api_is_down else FAILURES_IN_A_ROW):
            return False
        circuit.opened_at = circuit.last_opened_at = failure.at
        circuit.tries = _Tries()
        circuit.tries.plan(failure.at, draw)
        self._check_api(failure.at, draw)
        return True

    def _check_api(self, now: float, draw: float) -> None:
        """The API is down when several circuits are open, and no call has succeeded since the first of them opened."""
        opened = [item.opened_at for item in self._circuits.values() if item.opened_at is not None]
        since = [moment for moment in opened if moment > self._succeeded_at]
        if len(since) > 1 and not self._api_is_down:
            self._api_is_down, self._api_tries = True, _Tries()
            self._api_tries.plan(now, draw)

    def succeeded(self, credential: str, now: float) -> Closed | None:
        """Record a call that the API has answered; return the circuit that this closes."""
        circuit = self._circuit(credential)
        opened_at = circuit.opened_at
        circuit.failures, circuit.opened_at = 0, None
        circuit.succeeded_at = self._succeeded_at = now
        if self._api_is_down:
            self._api_is_down = False
            for other in self._circuits.values():
                other.tries = _Tries()
        return None if opened_at is None else Closed(credential, now - opened_at)

    def forget(self, credential: str) -> None:
        """Forget the circuit of a credential."""
        self._circuits.pop(credential, None)

    def is_open(self, credential: str) -> bool:
        """Whether the circuit of a credential is open."""
        return credential in self._circuits and self._circuits[credential].opened_at is not None

    def open_circuits(self) -> dict[str, str]:
        """Return the credentials whose circuits are open, with the reason of the last failure."""
        return {name: item.reason for name, item in self._circuits.items() if item.opened_at is not None}

    def succeeded_since(self, credential: str, moment: float) -> bool:
        """Whether a call of the credential has succeeded after a moment."""
        return credential in self._circuits and self._circuits[credential].succeeded_at > moment

    def opened_since(self, credential: str, moment: float) -> bool:
        """Whether the circuit of the credential has opened at a moment or later."""
        return credential in self._circuits and self._circuits[credential].last_opened_at >= moment

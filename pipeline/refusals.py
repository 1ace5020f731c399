"""How long a server has refused the credentials of this process. Pure: time is an argument, on the monotonic clock."""

REFUSED_LIMIT_S = 60.0
"""Time after which a process ends whose credentials a server has refused all the time."""


class Refusals:
    """The refusals of one server since it last accepted the credentials."""

    def __init__(self) -> None:
        self._since: float | None = None

    def refused(self, now: float) -> bool:
        """Record a refusal; return whether there were only refusals for more than REFUSED_LIMIT_S."""
        self._since = now if self._since is None else self._since
        return now - self._since > REFUSED_LIMIT_S

    def accepted(self) -> None:
        """Record that the server has accepted the credentials."""
        self._since = None

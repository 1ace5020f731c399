"""What can go wrong, as flows. Each is handled in one way, wherever it comes from.

PipelineError
├── Retryable    passing: try again with backoff, a bounded number of times
├── Throttled    too fast or budget spent: wait; costs no attempt
├── Invalid      this input is wrong and stays wrong: dead letter, go on with the next
└── Fatal        nothing in this scope can succeed: stop and say so
"""


class PipelineError(Exception):
    """The root of the tree; never raised itself."""


class Retryable(PipelineError):
    """A passing fault: the same thing may succeed later."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the other side asked us to wait, if it did."""


class Throttled(PipelineError):
    """The other side says that we are too fast, or that a budget is spent."""

    def __init__(self, reason: str, *, scope: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.scope = scope
        """Which budget refused: `property:X`, `credential:X` or `project`."""
        self.retry_after = retry_after
        """Seconds to wait, if the other side told."""


class Invalid(PipelineError):
    """A message, setting or request that can never be processed."""

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        """Path of the field that is wrong, such as `properties.0.url`."""
        self.reason = reason


class Fatal(PipelineError):
    """Going on is pointless or harmful; `scope` (a halt scope) says for whom."""

    def __init__(self, reason: str, *, scope: str = "all") -> None:
        super().__init__(reason)
        self.scope = scope

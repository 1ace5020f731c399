"""The errors that the services handle. Each is handled in one way, wherever it comes from.

PipelineError
├── Retryable    a passing fault: try again with backoff
├── Invalid      this input is wrong and stays wrong: dead-letter it and continue
└── Fatal        nothing in this scope can succeed: stop and report
"""


class PipelineError(Exception):
    """The root of the tree. Never raised itself."""


class Retryable(PipelineError):
    """A passing fault: the same operation may succeed later."""


class Invalid(PipelineError):
    """A message, setting or request that can never be processed."""

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        """Path of the invalid field, such as `properties.0.url`."""
        self.reason = reason


class Fatal(PipelineError):
    """Continuing is pointless or harmful. `scope` is the halt scope that is affected."""

    def __init__(self, reason: str, *, scope: str = "all") -> None:
        super().__init__(reason)
        self.scope = scope

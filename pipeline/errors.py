"""The errors of the pipeline, by what the caller does about them. Modules map the errors of their libraries to these.

PipelineError
├── Retryable    the fault may pass: try again with backoff, a bounded number of times
│   ├── Refused  a server refuses the credentials: passing only if they are about to be changed
│   └── TooSlow  a statement has reached its limit of time: a smaller one may pass
├── Invalid      the input is wrong and stays wrong: dead-letter it, and go on with the next
└── Fatal        nothing in the scope can succeed: halt the scope, or end the process
"""


class PipelineError(Exception):
    """The base class. Code raises one of its subclasses."""


class Retryable(PipelineError):
    """A temporary fault. The same operation may succeed later."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds to wait, if the server named a time."""


class Refused(Retryable):
    """A server has refused the user or the password."""


class TooSlow(Retryable):
    """The server has ended a statement that took longer than it may."""


class Invalid(PipelineError):
    """A message, setting or request that can never be processed."""

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        """The path of the wrong field, such as `properties.0.url`."""
        self.reason = reason


class Fatal(PipelineError):
    """A fault that makes further work in `scope`, a halt scope, pointless or harmful."""

    def __init__(self, reason: str, *, scope: str = "all") -> None:
        super().__init__(reason)
        self.scope = scope

"""Backpressure: work pauses while a consumer group is far behind. Pure."""


class LagThreshold:
    """Pauses at a lag of `pause_at` messages or more, and resumes when the lag is below `resume_below`.

    With two thresholds, a lag that varies around one number does not pause and resume at every reading.
    """

    def __init__(self, pause_at: int, resume_below: int) -> None:
        self._pause_at = pause_at
        self._resume_below = resume_below
        self.paused = False

    def update(self, lag: int) -> bool:
        """Record a reading of the lag, in messages, and return whether work is paused."""
        self.paused = lag >= (self._resume_below if self.paused else self._pause_at)
        return self.paused

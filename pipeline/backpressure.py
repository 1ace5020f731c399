"""When work pauses because a consumer group is behind, and when it resumes. Pure."""


class LagThreshold:
    """Paused from `pause_at` messages of lag on, until the lag is below `resume_below`.

    Two thresholds, so that a lag that moves around one number does not pause and resume with every reading.
    """

    def __init__(self, pause_at: int, resume_below: int) -> None:
        self._pause_at = pause_at
        self._resume_below = resume_below
        self.paused = False

    def update(self, lag: int) -> bool:
        """Record a reading of the lag, in messages; returns whether work is paused."""
        self.paused = lag >= (self._resume_below if self.paused else self._pause_at)
        return self.paused

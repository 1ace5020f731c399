"""Reports processes that end, and starts them again."""

from collections.abc import Sequence

from lab.processes import Process
from lab.progress import Progress


class ProcessWatch:
    """Reports each process that ends, once, and starts those that have ended again."""

    def __init__(self, processes: Sequence[Process], progress: Progress) -> None:
        self._processes = processes
        self._progress = progress
        self._reported: set[Process] = set()

    def report_ended(self) -> None:
        """Report the processes that have ended since the last call."""
        for process in self._processes:
            if process not in self._reported and not process.running:
                self._reported.add(process)
                self._progress(
                    f"{process.end}; the others go on, and `gsc-stream up` starts it again: {process.tail()}"
                )

    def restart_ended(self) -> None:
        """Start every process again that has ended. Raises LabError."""
        self.report_ended()
        for process in self._reported:
            process.restart()
            self._progress(f"{process.name} was started again")
        self._reported.clear()

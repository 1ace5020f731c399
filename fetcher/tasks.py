"""PageCalls under way, by the partition that it is for."""

import asyncio
from collections.abc import Awaitable, Callable, Collection


class Tasks:
    """Tasks whose failure is not lost: `on_failure` is called, and `check` raises it."""

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._tasks: dict[asyncio.Task[None], int] = {}
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Awaitable[None], partition: int) -> None:
        """Start it."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self._failure = error
                self._on_failure()

        task = asyncio.create_task(guarded())
        self._tasks[task] = partition
        task.add_done_callback(self._tasks.pop)

    def check(self) -> None:
        """Raise what a task has raised."""
        if self._failure is not None:
            raise self._failure

    async def drain(self, partitions: Collection[int], timeout_s: float) -> int:
        """Wait for the tasks of these partitions; returns how many have not ended in time."""
        mine = self._of(partitions)
        return len((await asyncio.wait(mine, timeout=timeout_s))[1]) if mine else 0

    async def cancel(self, partitions: Collection[int]) -> None:
        """End the tasks of these partitions."""
        mine = self._of(partitions)
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    def _of(self, partitions: Collection[int]) -> set[asyncio.Task[None]]:
        return {task for task, partition in self._tasks.items() if partition in partitions}

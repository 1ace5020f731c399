"""An event loop in a thread of its own, for servers beside a program that blocks, and the end of their listeners.

A loop that is closed while it has a connection leaks the socket. Until Python 3.13, so does a server that is closed
between the moment in which a connection is accepted and the moment in which it has a transport.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ROUNDS = 4
"""asyncio accepts in one round of the loop, creates the transport in the next, calls the protocol in the third, and a
task that the protocol creates begins in the fourth."""
_STOP_S = 60.0


async def close_listener(server: asyncio.Server) -> None:
    """Accept no more connections, and return when those that were accepted have begun."""
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening)
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
    server.close()


@contextmanager
def loop_in_thread(name: str) -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop for the length of the block; at its end, when no listener is open, cancel the tasks that are left."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=name, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_tasks(), loop).result(_STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
        loop.close()


async def _cancel_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # the transports that the tasks have closed close their sockets

"""The catalog in force, and its file, followed: a valid version replaces the whole catalog, another one is refused.

The content decides, not the time of modification: Kubernetes replaces a mounted file by a symbolic link to another.
"""

import asyncio
import signal
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.log import logger
from pipeline.metrics import gauge
from pipeline.process import event_or_timeout

POLL_S = 2.0
"""A new version is read when two polls in a row find it: a file that is being written is left alone."""

_log = logger(__name__)


class CatalogWatcher:
    """Follows a catalog file. `catalog` is the version in force."""

    def __init__(self, path: Path) -> None:
        """Read the catalog. Raises CatalogError."""
        self._path = path
        self._listeners: list[Callable[[Catalog], None]] = []
        self._read = self._found = _digest(path)
        self.catalog = read_catalog(path)

    def subscribe(self, on_change: Callable[[Catalog], None]) -> None:
        """Call `on_change` with each version that replaces another one. It must not raise."""
        self._listeners.append(on_change)

    def reload(self) -> None:
        """Read the file at the next poll, whether it has changed or not."""
        self._read = b""

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the file until `stop`. SIGHUP reads it again."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            while not await event_or_timeout(stop, POLL_S):
                await self.poll()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    async def poll(self) -> None:
        """Look at the file once."""
        before, self._found = self._found, await asyncio.to_thread(_digest, self._path)
        if self._found == self._read or self._found != before:
            return
        self._read = self._found
        try:
            catalog = await asyncio.to_thread(read_catalog, self._path)
        except CatalogError as error:
            gauge("gsc_catalog_reload_failed").set(1)
            for line in str(error).splitlines():
                _log.error("catalog_refused", error=line)
            return
        self._replace(catalog)

    def _replace(self, catalog: Catalog) -> None:
        old, self.catalog = self.catalog, catalog
        gauge("gsc_catalog_reload_failed").set(0)
        _log.info(
            "catalog_reloaded",
            properties_added=sorted(catalog.property_by_url.keys() - old.property_by_url.keys())[:10],
            properties_removed=sorted(old.property_by_url.keys() - catalog.property_by_url.keys())[:10],
            properties=len(catalog.properties),
            credentials=len(catalog.credentials),
        )
        for listener in self._listeners:
            listener(catalog)


def _digest(path: Path) -> bytes:
    """Return a digest of the file's content; that of nothing when it cannot be read, which reading it reports."""
    try:
        return blake2b(path.read_bytes()).digest()
    except OSError:
        return blake2b().digest()

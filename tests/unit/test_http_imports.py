"""What the HTTP client imports while it works."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import httpcore
import pytest

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Searches(MetaPathFinder):
    """The modules that are searched for. One that is not installed is searched for at every import."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        self.names.append(fullname)
        return None


async def test_a_call_does_not_search_for_modules_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpcore asks `sniffio` several times in each call which event loop it runs on."""
    searches = Searches()
    async with httpcore.AsyncConnectionPool(network_backend=httpcore.AsyncMockBackend([RESPONSE] * 2)) as pool:
        await pool.request("GET", "http://example.com/")
        monkeypatch.setattr(sys, "meta_path", [searches, *sys.meta_path])
        await pool.request("GET", "http://example.com/")
    assert searches.names == []

"""A catalog whose file changes: what replaces the version in force, and what is refused."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_watcher import CatalogWatcher
from pipeline.metrics import gauge
from support.examples import CATALOG, write_catalog
from support.wait import until

TWO = CATALOG + '  - {url: "https://example.com/", credential: acme}\n'


async def polled(watcher: CatalogWatcher) -> None:
    """Poll until a change that was written before is read."""
    await watcher.poll()
    await watcher.poll()


def urls(watcher: CatalogWatcher) -> list[str]:
    return list(watcher.catalog.property_by_url)


def refused() -> float:
    return float(gauge("gsc_catalog_reload_failed")._value.get())  # type: ignore[attr-defined]


async def test_a_valid_version_replaces_the_one_before(tmp_path: Path) -> None:
    path = write_catalog(tmp_path)
    watcher = CatalogWatcher(path)
    replaced: list[Catalog] = []
    watcher.subscribe(replaced.append)
    await polled(watcher)
    assert replaced == []
    path.write_text(TWO)
    await polled(watcher)
    assert urls(watcher) == ["sc-domain:example.com", "https://example.com/"]
    assert replaced == [watcher.catalog]


async def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = write_catalog(tmp_path)
    watcher = CatalogWatcher(path)
    for length in range(10, len(TWO), 40):
        path.write_text(TWO[:length])
        await watcher.poll()
    assert refused() == 0
    path.write_text(TWO)
    await polled(watcher)
    assert len(urls(watcher)) == 2


async def test_a_version_with_an_error_is_refused_and_the_next_one_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_catalog(tmp_path)
    watcher = CatalogWatcher(path)
    path.write_text(CATALOG.replace("credential: acme", "credential: acne"))
    for _ in range(3):
        await polled(watcher)
    assert (urls(watcher), refused()) == (["sc-domain:example.com"], 1)
    printed = capsys.readouterr()
    # Where a line goes depends on whether an earlier test has configured the log.
    texts = (*(printed.out + printed.err).splitlines(), *(record.getMessage() for record in caplog.records))
    lines = [line for line in texts if "catalog_refused" in line]
    assert len(lines) == 1
    assert f"{path}:4: properties.0.credential: unknown credential 'acne'; did you mean 'acme'?" in lines[0]
    path.write_text(TWO)
    await polled(watcher)
    assert (len(urls(watcher)), refused()) == (2, 0)


async def test_a_symbolic_link_to_another_file_is_another_version(tmp_path: Path) -> None:
    for name, text in (("v1", CATALOG), ("v2", TWO)):
        (tmp_path / name).mkdir()
        write_catalog(tmp_path / name).write_text(text)
    link = tmp_path / "current"
    link.symlink_to("v1")
    watcher = CatalogWatcher(link / "catalog.yaml")
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(link)
    await polled(watcher)
    assert len(urls(watcher)) == 2


async def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    path = write_catalog(tmp_path)
    watcher = CatalogWatcher(path)
    path.unlink()
    await polled(watcher)
    assert (len(urls(watcher)), refused()) == (1, 1)
    with pytest.raises(CatalogError):
        CatalogWatcher(path)
    path.write_text(CATALOG)
    await polled(watcher)
    assert refused() == 0


async def test_sighup_reads_the_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.catalog_watcher.POLL_S", 0.01)
    watcher, replaced = CatalogWatcher(write_catalog(tmp_path)), list[Catalog]()
    watcher.subscribe(replaced.append)
    stop = asyncio.Event()
    following = asyncio.create_task(watcher.run(stop))
    await until(lambda: signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL, 60, "the signal has a handler")
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(replaced) == 1, 60, "the file is read again")
    assert replaced == [watcher.catalog]
    stop.set()
    await following

"""Kafka's jars are verified against the lock file, and downloaded when they are missing or damaged."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from lab import kafka_jars
from lab.errors import LabError
from lab.kafka_jars import Jar, _download, kafka_classpath, locked_jars


class FakeRepository:
    """A Maven repository that returns the same file for every artifact."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __getattr__(self, _: str) -> Any:
        return lambda *_: self

    def resolve(self) -> Path:
        return self._file


def test_the_lock_file_lists_every_jar_once_with_its_hash() -> None:
    jars = locked_jars()
    assert len({jar.file_name for jar in jars}) == len(jars) == 45
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in jars)
    assert any(jar.file_name == "kafka_2.13-4.4.0.jar" for jar in jars)


def test_a_downloaded_jar_with_the_locked_hash_is_stored(tmp_path: Path) -> None:
    downloaded = tmp_path / "downloaded"
    downloaded.write_bytes(b"good")
    jar = Jar("g", "a", "1", sha256(b"good").hexdigest(), 4)
    _download(FakeRepository(downloaded), jar, tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / "a-1.jar").read_bytes() == b"good"


def test_a_downloaded_jar_with_another_hash_is_rejected(tmp_path: Path) -> None:
    downloaded = tmp_path / "downloaded"
    downloaded.write_bytes(b"evil")
    jar = Jar("g", "a", "1", sha256(b"good").hexdigest(), 4)
    with pytest.raises(LabError, match=r"a-1\.jar differs from the locked file"):
        _download(FakeRepository(downloaded), jar, tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "a-1.jar").exists()


def test_missing_and_damaged_jars_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("good", "damaged", "gone")
    jars = [Jar("g", name, "1", sha256(name.encode()).hexdigest(), len(name)) for name in names]
    downloads: list[str] = []
    monkeypatch.setattr(kafka_jars, "locked_jars", lambda: jars)
    monkeypatch.setattr(kafka_jars, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(
        kafka_jars, "_download_all", lambda missing, *_: downloads.extend(jar.artifact for jar in missing)
    )
    (tmp_path / "good-1.jar").write_bytes(b"good")
    (tmp_path / "damaged-1.jar").write_bytes(b"dama")
    classpath = kafka_classpath(print)
    assert downloads == ["damaged", "gone"]
    assert [Path(path).name for path in classpath.split(":")] == ["good-1.jar", "damaged-1.jar", "gone-1.jar"]


def test_a_cache_folder_that_cannot_be_created_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_jars, "cache_folder", lambda: Path("/dev/null/cache"))
    with pytest.raises(LabError, match="Kafka's jars cannot be stored in /dev/null/cache: Not a directory"):
        kafka_classpath(print)

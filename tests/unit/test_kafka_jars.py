from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from lab import kafka_jars
from lab.errors import LabError
from lab.kafka_jars import Jar, _fetch, kafka_classpath, locked


class OneJar:
    """A Maven repository that gives the same file for everything."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __getattr__(self, _: str) -> Any:
        return lambda *_: self

    def resolve(self) -> Path:
        return self._file


def test_the_lock_names_every_jar_once_with_its_sum() -> None:
    jars = locked()
    assert len({jar.file_name for jar in jars}) == len(jars) == 45
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in jars)
    assert any(jar.file_name == "kafka_2.13-4.4.0.jar" for jar in jars)


def test_a_jar_is_kept_when_its_sum_is_right(tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    fetched.write_bytes(b"good")
    jar = Jar("g", "a", "1", sha256(b"good").hexdigest(), 4)
    _fetch(OneJar(fetched), jar, tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / "a-1.jar").read_bytes() == b"good"


def test_a_jar_that_is_not_what_was_locked_is_refused(tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    fetched.write_bytes(b"evil")
    jar = Jar("g", "a", "1", sha256(b"good").hexdigest(), 4)
    with pytest.raises(LabError, match=r"a-1\.jar is not what was locked"):
        _fetch(OneJar(fetched), jar, tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "a-1.jar").exists()


def test_a_kept_jar_that_is_damaged_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [Jar("g", name, "1", sha256(name.encode()).hexdigest(), len(name)) for name in ("good", "damaged", "gone")]
    fetched: list[str] = []
    monkeypatch.setattr(kafka_jars, "locked", lambda: wanted)
    monkeypatch.setattr(kafka_jars, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(kafka_jars, "_fetch_all", lambda missing, *_: fetched.extend(jar.artifact for jar in missing))
    (tmp_path / "good-1.jar").write_bytes(b"good")
    (tmp_path / "damaged-1.jar").write_bytes(b"dama")
    classpath = kafka_classpath(print)
    assert fetched == ["damaged", "gone"]
    assert [Path(path).name for path in classpath.split(":")] == ["good-1.jar", "damaged-1.jar", "gone-1.jar"]


def test_a_cache_folder_that_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_jars, "cache_folder", lambda: Path("/dev/null/cache"))
    with pytest.raises(LabError, match="Kafka's jars cannot be kept in /dev/null/cache: Not a directory"):
        kafka_classpath(print)

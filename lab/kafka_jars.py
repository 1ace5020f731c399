"""Kafka's jars: fetched once into the user's cache, each checked against the sha256 in `kafka-jars.lock`.

The lock's list is the classpath; nothing is resolved at run time. `python -m lab.kafka_jars` writes the lock anew.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import platformdirs
from jgo.maven import Artifact, Dependency, MavenContext

from lab.errors import LabError

KAFKA = ("org.apache.kafka", "kafka_2.13", "4.4.0")
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5")  # without it Kafka is silent about its faults
_LOCK = "kafka-jars.lock"
_AT_ONCE = 6

Progress = Callable[[str], None]
"""Told what is going on, a line at a time."""


@dataclass(frozen=True)
class Jar:
    """A line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """As in the cache and on the classpath."""
        return f"{self.artifact}-{self.version}.jar"


def locked() -> list[Jar]:
    """The jars of the lock, in the classpath's order."""
    lines = files("lab").joinpath(_LOCK).read_text(encoding="utf-8").splitlines()
    return [_jar(line) for line in lines if line and not line.startswith("#")]


def _jar(line: str) -> Jar:
    coordinate, sha256, size = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256, int(size))


def cache_folder() -> Path:
    """Where downloads are kept for the next time."""
    return platformdirs.user_cache_path("gsc-stream") / f"kafka-{KAFKA[2]}"


def kafka_classpath(progress: Progress) -> str:
    """Paths of all jars, fetched where missing or damaged, joined for `java -cp`. Raises LabError."""
    folder = cache_folder()
    jars = locked()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if missing := [jar for jar in jars if not _is_kept(jar, folder)]:
            _fetch_all(missing, folder, progress)
    except OSError as error:
        raise LabError(f"Kafka's jars cannot be kept in {folder}: {error.strerror}") from error
    return os.pathsep.join(str(folder / jar.file_name) for jar in jars)


def _is_kept(jar: Jar, folder: Path) -> bool:
    """Whether the cache has it as it was locked; to sum up all of them takes a tenth of a second."""
    path = folder / jar.file_name
    return path.exists() and _sha256(path) == jar.sha256


def _fetch_all(jars: list[Jar], folder: Path, progress: Progress) -> None:
    total = sum(jar.size for jar in jars)
    done = 0
    progress(f"fetching Apache Kafka {KAFKA[2]}: {len(jars)} jars, {total / 1e6:.0f} MB, into {folder}")
    with tempfile.TemporaryDirectory(dir=folder) as scratch, ThreadPoolExecutor(_AT_ONCE) as pool:
        context = MavenContext(repo_cache=Path(scratch), timeout=60)
        for jar in pool.map(lambda jar: _fetch(context, jar, folder), jars):
            done += jar.size
            progress(f"  {done / 1e6:5.1f} of {total / 1e6:.1f} MB  {jar.file_name}")


def _fetch(context: MavenContext, jar: Jar, folder: Path) -> Jar:
    try:
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        fetched = Path(component.artifact().resolve())
    except Exception as error:  # jgo raises what requests, and what the file system, raise
        raise LabError(f"cannot fetch {jar.file_name}: {error}") from error
    if (found := _sha256(fetched)) != jar.sha256:
        raise LabError(
            f"{jar.file_name} is not what was locked: the Maven repository gave one of sha256 {found}, lab/{_LOCK} has"
            f" {jar.sha256}. Does a proxy or a mirror change files?"
        )
    # Complete or not there: a second process that fetches at the same time puts the same file in its place.
    shutil.move(fetched, folder / f"{jar.file_name}.{os.getpid()}")
    (folder / f"{jar.file_name}.{os.getpid()}").replace(folder / jar.file_name)
    return jar


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock() -> None:
    """Resolve what Kafka needs at run time, and write the lock."""
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=60)
        first, others = context.resolver.resolve([Dependency(_artifact(context, KAFKA))])
        wanted = [d.artifact for d in [*first, *others] if d.scope in (None, "compile", "runtime")]
        # By itself: what it would ask for is there, and its parent's managed versions are for others.
        lines = [_line(artifact) for artifact in [*wanted, _artifact(context, LOGGING)]]
    header = (
        "# group:artifact:version sha256 bytes. Written by `python -m lab.kafka_jars`; the order is the classpath's.\n"
    )
    Path(str(files("lab").joinpath(_LOCK))).write_text(header + "".join(lines), encoding="utf-8")


def _artifact(context: MavenContext, coordinate: tuple[str, str, str]) -> Artifact:
    group, artifact, version = coordinate
    return context.project(group, artifact).at_version(version).artifact()


def _line(artifact: Artifact) -> str:
    path = Path(artifact.resolve())
    return f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} {_sha256(path)} {path.stat().st_size}\n"


if __name__ == "__main__":
    _lock()

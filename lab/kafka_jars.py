"""Kafka's jars: downloaded once into the user's cache folder, each verified against the SHA-256 in `kafka-jars.lock`.

The lock file lists the jars of the classpath in order, so no dependency is resolved at run time.
`python -m lab.kafka_jars` writes the lock file again, for example for another version of Kafka.
"""

import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from lab.errors import LabError
from lab.progress import Progress

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

KAFKA = ("org.apache.kafka", "kafka_2.13", "4.4.0")
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5")  # without it Kafka logs nothing, not even errors
_LOCK_FILE = "kafka-jars.lock"
_PROGRESS_LINES = 5
_PARALLEL_DOWNLOADS = 6


@dataclass(frozen=True)
class Jar:
    """A line of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int
    """Bytes."""

    @property
    def file_name(self) -> str:
        """The name in the cache folder and on the classpath."""
        return f"{self.artifact}-{self.version}.jar"


def locked_jars() -> list[Jar]:
    """Return the jars of the lock file, in the order of the classpath."""
    lines = files("lab").joinpath(_LOCK_FILE).read_text(encoding="utf-8").splitlines()
    return [_parse_jar(line) for line in lines if line and not line.startswith("#")]


def _parse_jar(line: str) -> Jar:
    coordinate, sha256, size = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256, int(size))


def cache_folder() -> Path:
    """Return the folder that keeps the downloaded jars."""
    return platformdirs.user_cache_path("gsc-stream") / f"kafka-{KAFKA[2]}"


def kafka_classpath(progress: Progress) -> str:
    """Return the classpath for `java -cp`; download jars that are missing or damaged.

    Raises LabError when a download fails or the cache folder cannot be written.
    """
    folder = cache_folder()
    jars = locked_jars()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if missing := [jar for jar in jars if not _is_cached(jar, folder)]:
            _download_all(missing, folder, progress)
    except OSError as error:
        raise LabError(f"Kafka's jars cannot be stored in {folder}: {error.strerror}") from error
    return os.pathsep.join(str(folder / jar.file_name) for jar in jars)


def _is_cached(jar: Jar, folder: Path) -> bool:
    """Whether the cache holds the jar undamaged; hashing all jars takes a tenth of a second."""
    path = folder / jar.file_name
    return path.exists() and _sha256(path) == jar.sha256


def _download_all(jars: list[Jar], folder: Path, progress: Progress) -> None:
    total = sum(jar.size for jar in jars)
    downloaded = reported = 0
    progress(f"downloading Apache Kafka {KAFKA[2]}: {len(jars)} jars, {total / 1e6:.0f} MB, to {folder}")
    with tempfile.TemporaryDirectory(dir=folder) as scratch, ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        context = _maven_context(Path(scratch))
        for jar in pool.map(lambda jar: _download(context, jar, folder), jars):
            downloaded += jar.size
            if downloaded - reported >= total / _PROGRESS_LINES or downloaded == total:
                reported = downloaded
                progress(f"  {downloaded / 1e6:5.1f} of {total / 1e6:.1f} MB")


def _maven_context(cache: Path) -> "MavenContext":
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise LabError("cannot download Apache Kafka: install gsc-stream[lab]") from error
    return MavenContext(repo_cache=cache, timeout=60)


def _download(context: "MavenContext", jar: Jar, folder: Path) -> Jar:
    try:
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        file = Path(component.artifact().resolve())
    except Exception as error:  # jgo does not wrap the errors of requests and of the file system
        raise LabError(f"cannot download {jar.file_name}: {error}") from error
    if (sha256 := _sha256(file)) != jar.sha256:
        raise LabError(
            f"{jar.file_name} differs from the locked file: the Maven repository sent SHA-256 {sha256}, and"
            f" lab/{_LOCK_FILE} has {jar.sha256}. Check whether a proxy or a mirror changes downloads."
        )
    # The rename is atomic: another process that downloads the same jar never sees part of a file.
    shutil.move(file, folder / f"{jar.file_name}.{os.getpid()}")
    (folder / f"{jar.file_name}.{os.getpid()}").replace(folder / jar.file_name)
    return jar


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_lock_file() -> None:
    """Resolve Kafka's dependencies at run time, and write the lock file."""
    from jgo.maven import Dependency

    with tempfile.TemporaryDirectory() as scratch:
        context = _maven_context(Path(scratch))
        direct, transitive = context.resolver.resolve([Dependency(_artifact(context, KAFKA))])
        artifacts = [d.artifact for d in [*direct, *transitive] if d.scope in (None, "compile", "runtime")]
        # Not resolved: Kafka already has the dependencies of the logging jar, and in the versions that Kafka needs.
        lines = [_format_line(artifact) for artifact in [*artifacts, _artifact(context, LOGGING)]]
    header = (
        "# group:artifact:version sha256 bytes. Written by `python -m lab.kafka_jars`; the order is the classpath's.\n"
    )
    Path(str(files("lab").joinpath(_LOCK_FILE))).write_text(header + "".join(lines), encoding="utf-8")


def _artifact(context: "MavenContext", coordinate: tuple[str, str, str]) -> "Artifact":
    group, artifact, version = coordinate
    return context.project(group, artifact).at_version(version).artifact()


def _format_line(artifact: "Artifact") -> str:
    path = Path(artifact.resolve())
    return f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} {_sha256(path)} {path.stat().st_size}\n"


if __name__ == "__main__":
    _write_lock_file()

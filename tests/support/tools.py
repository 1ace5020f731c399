"""Programs that some tests need and a user may not have: from the PATH, or made once and kept in the cache folder.

helm and docker-compose are built by Go from their sources; Prometheus and PgBouncer are Debian's; Airflow is
installed by uv into a virtual environment of its own, since its dependencies are at odds with ours.
`GSC_TOOLS=required`, which CI sets, makes a missing one a failure instead of a skip.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from platformdirs import user_cache_path

HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
COMPOSE = "github.com/docker/compose/v5/cmd@v5.6.0"

ROOT = Path(__file__).parents[2]
AIRFLOW = Path(__file__).with_name("airflow-requirements.txt")


class Missing(Exception):
    """The tool cannot be had here."""


@dataclass(frozen=True)
class Tool:
    """`make` puts it into a folder. `where`: how a user gets it."""

    name: str
    where: str
    make: Callable[[Path], None]

    def path(self) -> Path:
        """Where it is, made if need be; else the test is skipped, or fails where it must not be missing."""
        kept = user_cache_path("gsc-stream") / "tools" / self.name
        if found := shutil.which(self.name):
            return Path(found)
        try:
            if not kept.exists():
                self._keep(kept)
        except Missing as error:
            self._give_up(str(error))
        return kept

    def _keep(self, kept: Path) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be making it
            if kept.exists():
                return
            with TemporaryDirectory(dir=kept.parent) as folder:
                self.make(Path(folder))
                (Path(folder) / self.name).replace(kept)

    def _give_up(self, why: str) -> None:
        message = f"{self.name} is not here ({why}); {self.where}"
        if os.environ.get("GSC_TOOLS") == "required":
            pytest.fail(message)
        pytest.skip(message)


def _run(*command: str, cwd: Path, **environment: str) -> None:
    try:
        subprocess.run(
            command, cwd=cwd, env={**os.environ, **environment}, check=True, capture_output=True, text=True, timeout=900
        )
    except FileNotFoundError as error:
        raise Missing(f"no {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise Missing(f"{command[0]}: {error.stderr.strip().splitlines()[-1:]}") from error


def _helm(folder: Path) -> None:
    _run("go", "install", HELM, cwd=folder, GOBIN=str(folder))


def _compose(folder: Path) -> None:
    """As a dependency of a module of our own: it excludes versions, which `go install` does not allow."""
    package, version = COMPOSE.split("@")
    _run("go", "mod", "init", "tools", cwd=folder)
    _run("go", "get", f"{package}@{version}", cwd=folder)
    _run("go", "build", "-o", "docker-compose", package, cwd=folder)


def _debian(folder: Path, target: Path, *packages: str) -> None:
    """Unpack packages of Debian, downloaded into a folder, without installing them."""
    try:
        _run("apt-get", "download", *packages, cwd=folder)
    except Missing:
        _run("apt-get", "update", cwd=folder)
        _run("apt-get", "download", *packages, cwd=folder)
    for package in folder.glob("*.deb"):
        _run("dpkg-deb", "--extract", str(package), str(target), cwd=folder)


def _prometheus(folder: Path) -> None:
    _debian(folder, folder, "prometheus")
    for program in ("prometheus", "promtool"):
        (folder / "usr/bin" / program).rename(folder / program)


def _pgbouncer(folder: Path) -> None:
    """With the libraries that a machine may not have: a folder, as on Debian."""
    _debian(folder, folder / pgbouncer.name, "pgbouncer", "libc-ares2", "libevent-2.1-7")


def _airflow(folder: Path) -> None:
    """The environment is moved when it is ready, so it must be relocatable."""
    uv = shutil.which("uv") or str(ROOT / ".tooling/bin/uv")
    name = airflow.name
    _run(uv, "venv", "--relocatable", "--python", sys.executable, name, cwd=folder)
    _run(uv, "pip", "sync", "--python", f"{name}/bin/python", str(AIRFLOW), cwd=folder)


def _not_made(_: Path) -> None:
    raise Missing("it is not on the PATH")


def _name_of_airflow() -> str:
    """Other versions, or another Python, are another environment."""
    return f"airflow-{sha256(AIRFLOW.read_bytes() + sys.version.encode()).hexdigest()[:12]}"


helm = Tool("helm", "https://helm.sh/docs/intro/install, or install Go", _helm)
compose = Tool("docker-compose", "https://docs.docker.com/compose/install, or install Go", _compose)
prometheus = Tool("prometheus", "https://prometheus.io/download, or apt-get install prometheus", _prometheus)
promtool = Tool("promtool", "it comes with Prometheus: https://prometheus.io/download", _prometheus)
pgbouncer = Tool("pgbouncer-of-debian", "use Debian or Ubuntu", _pgbouncer)
airflow = Tool(_name_of_airflow(), "install uv, https://docs.astral.sh/uv, or run `make install`", _airflow)
flock = Tool("flock", "it comes with util-linux", _not_made)

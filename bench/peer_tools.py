"""Other tools that copy Search Console, each in an environment of its own, pointed at the simulator."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg

from bench.results import log_progress
from lab.processes import inherited_environment
from pipeline.clock import monotonic

REQUIREMENTS = Path(__file__).parent / "peer_requirements"
AIRBYTE_STREAM = "search_analytics_all_fields"
TAP_STREAM = "performance_report_custom"
_PYTHON = "3.11"
"""A version that all of them support."""
_API = "https://www.googleapis.com/webmasters/v3"
_TOKENS = "https://oauth2.googleapis.com/token"
_DEADLINE_S = 7200.0
_DESCRIBE_TAP = f"""
import json
from tap_google_search_console.discover import get_schemas
schemas, metadata = get_schemas()
print(json.dumps([schemas["{TAP_STREAM}"], metadata["{TAP_STREAM}"]]))
"""


class Access(NamedTuple):
    """What a tool reads, and as whom."""

    root: str
    """Base URL of the simulator."""
    site: str
    start: str
    end: str
    key: Mapping[str, str]
    """An authorized user's file."""


class PeerRun(NamedTuple):
    """One run of a tool."""

    ended: float
    """On the monotonic clock."""
    rows: int
    """Rows that it delivered."""
    cpu_s: float
    """CPU seconds of its processes; those of PostgreSQL do not count."""


@dataclass(frozen=True)
class Tool:
    """A tool in an environment that the benchmark has made for it."""

    name: str
    folder: Path

    def program(self, name: str) -> str:
        """Return the path of one of its programs."""
        return str(self.folder / "bin" / name)

    def point_at(self, root: str, package: str, file: str) -> None:
        """Replace Google's addresses by the simulator's: the tools have no setting for them."""
        [path] = self.folder.glob(f"lib/python*/site-packages/{package}/{file}")
        text = path.read_text()
        if _API not in text or _TOKENS not in text:
            raise SystemExit(f"{path} does not name {_API} and {_TOKENS}")
        path.write_text(text.replace(_API, f"{root}/webmasters/v3").replace(_TOKENS, f"{root}/token"))


def install(name: str, folder: Path) -> Tool:
    """Make an environment with the versions of `peer_requirements/NAME.txt`. Raises CalledProcessError."""
    uv = shutil.which("uv") or str(Path(sys.prefix).parent / ".tooling/bin/uv")
    log_progress(f"installing {name}")
    subprocess.run([uv, "venv", "--quiet", "--python", _PYTHON, str(folder)], check=True)
    requirements = REQUIREMENTS / f"{name}.txt"
    # Copies, since links would let `point_at` change the files in uv's cache.
    options = ["--quiet", "--link-mode", "copy", "--python", f"{folder}/bin/python"]
    subprocess.run([uv, "pip", "sync", *options, str(requirements)], check=True)
    return Tool(name, folder)


def run_airbyte(access: Access, folder: Path) -> PeerRun:
    """Read the stream with Airbyte's source, its records into a file. Raises SystemExit when it fails."""
    tool = install("airbyte", folder)
    tool.point_at(access.root, "source_google_search_console", "manifest.yaml")
    stream = {"name": AIRBYTE_STREAM, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]}
    config = {
        "site_urls": [access.site],
        "start_date": access.start,
        "end_date": access.end,
        "authorization": {"auth_type": "Client", **_secrets(access)},
    }
    options = [
        *("--config", _write(folder / "config.json", config)),
        *("--catalog", _write(folder / "catalog.json", _configured(stream))),
    ]
    records = folder / "records.jsonl"
    with records.open("wb") as output:
        cpu_s = _run([[tool.program("source-google-search-console"), "read", *options]], folder, output)
    ended = monotonic()
    with records.open("rb") as lines:
        return PeerRun(ended, sum(json.loads(line)["type"] == "RECORD" for line in lines), cpu_s)


def _configured(stream: Mapping[str, object]) -> dict[str, object]:
    return {"streams": [{"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]}


def run_tap(access: Access, dsn: str, folder: Path) -> PeerRun:
    """Load the stream with Singer's tap and a PostgreSQL target, by COPY. Raises SystemExit when one fails."""
    tap, target = install("tap", folder), install("target", folder / "target")
    tap.point_at(access.root, "tap_google_search_console", "client.py")
    schema, metadata = json.loads(subprocess.check_output([tap.program("python"), "-c", _DESCRIBE_TAP]))
    stream = {"stream": TAP_STREAM, "tap_stream_id": TAP_STREAM, "schema": schema, "metadata": _selected(metadata)}
    config = {
        "site_urls": access.site,
        "start_date": f"{access.start}T00:00:00Z",
        "user_agent": "bench",
        **_secrets(access),
    }
    options = [
        *("--config", _write(folder / "config.json", config)),
        *("--catalog", _write(folder / "catalog.json", {"streams": [stream]})),
    ]
    url = urlsplit(dsn)._replace(scheme="postgresql+psycopg").geturl()
    settings = _write(folder / "target.json", {"sqlalchemy_url": url, "use_copy": True, "default_target_schema": "tap"})
    cpu_s = _run(
        [
            [tap.program("tap-google-search-console"), *options],
            [target.program("target-postgres"), "--config", settings],
        ],
        folder,
        subprocess.DEVNULL,
    )
    ended = monotonic()
    with psycopg.connect(dsn) as conn:
        row = conn.execute(f"select count(*) from tap.{TAP_STREAM}".encode()).fetchone()
    return PeerRun(ended, int(row[0]) if row else 0, cpu_s)


def _selected(metadata: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Select every field of a stream."""
    return [{**entry, "metadata": {**entry["metadata"], "selected": True}} for entry in metadata]


def _secrets(access: Access) -> dict[str, str]:
    return {name: access.key[name] for name in ("client_id", "client_secret", "refresh_token")}


def _write(path: Path, value: object) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def _run(pipe: Sequence[Sequence[str]], folder: Path, output: Any) -> float:
    """Run programs, each of which reads what the one before writes; return their CPU seconds."""
    before = _cpu_of_children()
    processes: list[subprocess.Popen[bytes]] = []
    with (folder / "log").open("wb") as log:
        for argv in pipe:
            source = processes[-1].stdout if processes else subprocess.DEVNULL
            sink = output if argv is pipe[-1] else subprocess.PIPE
            processes.append(subprocess.Popen(argv, stdin=source, stdout=sink, stderr=log, env=inherited_environment()))
            if not isinstance(source, int) and source:
                source.close()  # so that a program notices when the one that reads its output has ended
        codes = [process.wait(_DEADLINE_S) for process in reversed(processes)]
    if any(codes):
        raise SystemExit(f"{' | '.join(argv[0] for argv in pipe)} has failed; its output is in {folder}")
    return _cpu_of_children() - before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

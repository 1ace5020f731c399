"""Results of the benchmarks: a JSON file for each, with the machine, the date and the command."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil

from pipeline.clock import now

FOLDER = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """Return a description of this machine."""
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def log_progress(line: str) -> None:
    """Print a progress line on stderr."""
    print(line, file=sys.stderr, flush=True)


def write(name: str, figures: dict[str, Any]) -> None:
    """Write the figures to the benchmark's file, and print them on stdout."""
    result = {
        **figures,
        "machine": machine(),
        "date": now().isoformat(timespec="seconds"),
        "command": f"python -m bench {' '.join(sys.argv[1:])}",
    }
    text = json.dumps(result, indent=1)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(text + "\n")
    print(text)

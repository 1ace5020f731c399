"""Where the figures go: one JSON file for each benchmark, with the machine, the date and the command."""

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
    """What the figures were seen on."""
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def tell(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def write(name: str, figures: dict[str, Any]) -> None:
    """Write and print the figures."""
    whole = {
        **figures,
        "machine": machine(),
        "date": now().isoformat(timespec="seconds"),
        "command": f"python -m bench {' '.join(sys.argv[1:])}",
    }
    text = json.dumps(whole, indent=1)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(text + "\n")
    print(text)

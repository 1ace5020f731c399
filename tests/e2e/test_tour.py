"""The tour of the README: its commands, line by line, in one shell."""

import os
import re
import subprocess
from pathlib import Path

from support.pipeline import COMMAND

README = Path(__file__).parents[2] / "README.md"
FENCE = re.compile(r"^```sh tour\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOUR_S = 280


def test_the_tour_runs_line_by_line(open_folder: Path) -> None:
    fences = FENCE.findall(README.read_text())
    assert len(fences) >= 3
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GSC_")}
    environment["PATH"] = f"{COMMAND.parent}:{environment['PATH']}"
    try:
        tour = run_script("".join(fences), open_folder, environment)
    finally:
        run_script("gsc-stream down", open_folder, environment)
    assert tour.returncode == 0, (tour.stdout, tour.stderr)
    assert "pages: " in tour.stdout
    assert "stopped; the data is in " in tour.stdout


def run_script(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run each line; the first one that fails ends the script, and stderr has the lines that ran."""
    return subprocess.run(
        ["bash", "-exuo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TOUR_S,
        check=False,
    )

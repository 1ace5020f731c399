"""The overview of the benchmarks in the documentation."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_document_and_the_plots_are_those_of_the_results() -> None:
    check = [sys.executable, "-m", "bench.overview", "--check"]  # not part of the wheel, which other tests import
    ended = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr

"""A real Airflow, with a database of the test's own in a folder."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.processes import inherited_environment
from support.tools import airflow

DAG_RUNS = Path(__file__).with_name("dag_runs.py")
ENDED_S = 240.0


def dag_runs(folder: Path, connections: Mapping[str, Mapping[str, object]], runs: Sequence[str]) -> list[str]:
    """Run DAGs of `folder/dags`, each given as `DAG_ID@MOMENT`, one after the other; returns how they ended."""
    environment = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()},
    }
    done = subprocess.run(
        [airflow.path() / "bin/python", "-P", DAG_RUNS, *runs],  # our folder is not on its path
        env={**inherited_environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDED_S,
    )
    (folder / "airflow.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    states: list[str] = json.loads(done.stdout.splitlines()[-1])
    return states

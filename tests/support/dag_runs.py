"""Run by Airflow's own Python, `dag_runs.py DAG_ID@MOMENT ...`: each as `airflow dags test` does it, in one process.

The last line of the output is the list of how they ended.
"""

import json
import sys

from airflow.sdk import timezone
from airflow.utils.cli import get_bagged_dag
from airflow.utils.db import initdb


def main() -> None:
    initdb()
    states = []
    for run in sys.argv[1:]:
        dag_id, _, moment = run.partition("@")
        states.append(get_bagged_dag(None, dag_id).test(logical_date=timezone.parse(moment)).state)
    sys.stdout.write(f"\n{json.dumps(states)}\n")


if __name__ == "__main__":
    main()

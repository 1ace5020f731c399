"""Request the last days from gsc-stream, and wait until they are in PostgreSQL.

Needs `apache-airflow-providers-http`, and a connection `gsc_stream` of type HTTP: the producer's address, and as extra
`{"Authorization": "Bearer <GSC_HTTP_TOKEN>"}`.
"""

import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException
from requests import Response

DAYS = 10
PACIFIC = ZoneInfo("America/Los_Angeles")  # Search Console's days end there


def sync_request(moment: datetime) -> str:
    """Return the body. It depends only on the date of the DAG run: a retry or a late re-run sends the same request."""
    day = moment.astimezone(PACIFIC).date()
    start = day - timedelta(days=DAYS)
    # `rolling` skips the days for which a report has no data yet.
    window = {"all": True, "start": str(start), "end": str(day), "rolling": True, "priority": "daily"}
    return json.dumps({"request_id": f"airflow-{day}-{DAYS}", **window})


def run_id(response: Response) -> str:
    """Return the id of the run to wait for."""
    return str(response.json()["run_id"])


def is_done(response: Response) -> bool:
    """Return whether every page is in a final state. Fails the task, without a retry, when some are dead."""
    run = response.json()
    done = run["state"] in {"finished", "cancelled"}
    if done and run["pages"].get("dead"):
        raise AirflowFailException(f"see `gsc-stream dead-letters list`: {run['pages']}")
    return done


with DAG(
    "gsc_stream_http",
    schedule=CronTriggerTimetable("30 5 * * *", timezone="America/Los_Angeles"),
    start_date=datetime(2026, 1, 1, tzinfo=PACIFIC),
    catchup=False,  # each window covers the days before it
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "http_conn_id": "gsc_stream"},
    user_defined_macros={"sync_request": sync_request},
):
    ask = HttpOperator(
        task_id="ask",
        endpoint="v1/syncs",
        data="{{ sync_request(dag_run.logical_date or dag_run.run_after) }}",  # a manual run may have no logical date
        response_filter=run_id,
    )
    wait = HttpSensor(
        task_id="wait",
        endpoint="v1/runs/{{ ti.xcom_pull('ask') }}",
        response_check=is_done,
        response_error_codes_allowlist=["404", "503"],  # not accepted yet; the producer cannot reach PostgreSQL
        mode="reschedule",
        poke_interval=10,
        timeout=20 * 3600,
    )
    ask >> wait

"""Request the last days from gsc-stream with a message on Kafka. Nothing else of gsc-stream has to be reachable.

Needs `apache-airflow-providers-apache-kafka`, and a connection `gsc_stream_kafka` of type Kafka whose extra is
librdkafka's configuration, such as `{"bootstrap.servers": "kafka:9092"}`.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from airflow.providers.apache.kafka.operators.produce import ProduceToTopicOperator
from airflow.sdk import DAG, CronTriggerTimetable
from confluent_kafka import KafkaError, KafkaException, Message

DAYS = 10
PACIFIC = ZoneInfo("America/Los_Angeles")  # Search Console's days end there


def sync_request(moment: str) -> Iterator[tuple[str, str]]:
    """Yield key and value. They depend only on the date of the DAG run: a retry or a late re-run sends the same."""
    day = datetime.fromisoformat(moment).astimezone(PACIFIC).date()
    request_id = f"airflow-{day}-{DAYS}"
    request = {
        "type": "sync",
        "v": 1,
        "request_id": request_id,
        "all_properties": True,
        "start": str(day - timedelta(days=DAYS)),
        "end": str(day),
        "rolling": True,  # skips the days for which a report has no data yet
        "priority": "daily",
        "requested_at": moment,
        "requested_by": "airflow",
    }
    yield request_id, json.dumps(request)


def delivered(error: KafkaError | None, _: Message) -> None:
    """Fail the task when Kafka did not accept the message."""
    if error is not None:
        raise KafkaException(error)


with DAG(
    "gsc_stream_kafka",
    schedule=CronTriggerTimetable("30 5 * * *", timezone="America/Los_Angeles"),
    start_date=datetime(2026, 1, 1, tzinfo=PACIFIC),
    catchup=False,  # each window covers the days before it
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
):
    ask = ProduceToTopicOperator(
        task_id="ask",
        kafka_config_id="gsc_stream_kafka",
        topic="gsc.sync-requests",
        producer_function=sync_request,
        # A manual run may have no logical date.
        producer_function_args=["{{ (dag_run.logical_date or dag_run.run_after).isoformat() }}"],
    )
    # The operator's own callback only logs a failed delivery, and its argument does not accept a function.
    ask.delivery_callback = delivered

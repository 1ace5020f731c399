"""The parts of the Helm chart that are generated from the code: the topics, and the schema of the settings.

`python -m lab.chart_values helm/gsc-stream` writes both into the chart; a test compares the chart with the code.
"""

import json
import sys
from pathlib import Path
from typing import Any

from fetcher.settings import FetcherSettings
from pipeline.contracts.topics import ALL
from producer.settings import ProducerSettings
from sink.settings import SinkSettings

ELSEWHERE = {"kafka", "topic_prefix", "postgres_dsn", "catalog", "http_token", "http_host", "http_port", "log_format"}
"""Settings that other values of the chart set, or that its templates set."""


def topics() -> list[dict[str, Any]]:
    """Return the topics with their configuration, in Kafka's own names."""
    return [{"name": topic.name, "partitions": topic.partitions, "config": topic.config} for topic in ALL]


def settings() -> dict[str, Any]:
    """Return the JSON Schema of the chart's value `settings`."""
    fields: dict[str, Any] = {}
    for model in (ProducerSettings, FetcherSettings, SinkSettings):
        fields |= model.model_json_schema()["properties"]
    properties = {name: _constraints(field) for name, field in sorted(fields.items()) if name not in ELSEWHERE}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _constraints(field: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name not in {"title", "description", "default"}}


def write(chart: Path) -> None:
    """Write topics and schema into the chart's folder."""
    (chart / "files" / "topics.json").write_text(json.dumps(topics(), indent=1) + "\n", encoding="utf-8")
    path = chart / "values.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["properties"]["settings"] = settings()
    path.write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

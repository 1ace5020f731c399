"""What the Helm chart takes from the code: the topics, and which settings there are.

`python -m lab.chart_values helm/gsc-stream` writes both into the chart; a test holds them against the code.
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
"""Settings that have a place of their own in the values, or are the chart's."""


def topics() -> list[dict[str, Any]]:
    """The topics, with their configuration as Kafka spells it."""
    return [{"name": topic.name, "partitions": topic.partitions, "config": topic.config} for topic in ALL]


def settings() -> dict[str, Any]:
    """The JSON Schema of the chart's value `settings`."""
    found: dict[str, Any] = {}
    for model in (ProducerSettings, FetcherSettings, SinkSettings):
        found |= model.model_json_schema()["properties"]
    kept = {name: _bare(field) for name, field in sorted(found.items()) if name not in ELSEWHERE}
    return {"type": "object", "additionalProperties": False, "properties": kept}


def _bare(field: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name not in {"title", "description", "default"}}


def write(chart: Path) -> None:
    """Write both into the chart."""
    (chart / "files" / "topics.json").write_text(json.dumps(topics(), indent=1) + "\n", encoding="utf-8")
    path = chart / "values.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["properties"]["settings"] = settings()
    path.write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

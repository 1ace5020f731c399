"""The topics of the Helm chart: those of the code, and never fewer partitions."""

import json
from pathlib import Path

import pytest
import yaml

from lab.chart_values import settings, topics
from pipeline.contracts.topics import ALL
from support.chart import (
    CHART,
    THERE,
    TOPICS,
    Refused,
    of_kind,
    pods,
    rendered,
    rendered_against,
)
from support.kubernetes import cluster


def test_topics_and_settings_are_those_of_the_code() -> None:
    assert json.loads((CHART / "files/topics.json").read_text()) == topics(), "run `make chart`"
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["settings"] == settings(), "run `make chart`"
    assert set(schema["properties"]) == {*yaml.safe_load((CHART / "values.yaml").read_text()), "global"}


def test_strimzi_gets_every_topic_as_the_code_has_it() -> None:
    created = {
        item["metadata"]["name"]: item for item in of_kind(rendered({"topics": TOPICS["strimzi"]}), "KafkaTopic")
    }
    assert set(created) == {topic.full_name("gsc") for topic in ALL}
    for topic in ALL:
        item = created[topic.full_name("gsc")]
        assert item["spec"]["partitions"] == topic.partitions
        assert item["spec"]["config"] == topic.config
        assert item["spec"]["replicas"] == 3
        assert item["metadata"]["labels"]["strimzi.io/cluster"] == "main"
        assert item["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize(("there", "kept"), [(None, 12), (12, 12), (24, 24)])
def test_a_topic_that_is_there_never_shrinks(there: int | None, kept: int, folder: Path) -> None:
    topic = {} if there is None else {"KafkaTopic/kafka/gsc.batches": {"spec": {"partitions": there}}}
    with cluster({**THERE, **topic}, folder) as kubeconfig:
        created = of_kind(rendered_against(kubeconfig, {"topics": TOPICS["strimzi"]}), "KafkaTopic")
    assert {item["metadata"]["name"]: item["spec"]["partitions"] for item in created}["gsc.batches"] == kept


def test_partitions_are_not_added_silently(folder: Path) -> None:
    fewer = {"KafkaTopic/kafka/gsc.batches": {"spec": {"partitions": 6}}}
    with cluster({**THERE, **fewer}, folder) as kubeconfig, pytest.raises(Refused) as refused:
        rendered_against(kubeconfig, {"topics": TOPICS["strimzi"]})
    assert "gsc.batches has 6 partitions, not 12" in str(refused.value)


def test_the_number_of_partitions_is_one_value() -> None:
    strimzi = rendered({"topics": {**TOPICS["strimzi"], "partitions": 40}})
    created = {item["metadata"]["name"]: item["spec"]["partitions"] for item in of_kind(strimzi, "KafkaTopic")}
    assert {name for name, count in created.items() if count == 40} == {"gsc.batches", "gsc.results"}
    job = pods(rendered({"topics": {"partitions": 40, "waitSeconds": 60}}))["topics"]
    assert job["containers"][0]["args"] == ["topics", "--wait", "60", "--partitions", "40"]

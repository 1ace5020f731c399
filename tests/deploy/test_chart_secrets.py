"""The secrets of the Helm chart: each component gets its own, and no more than it needs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.chart import (
    CATALOGS,
    CHART,
    SECRETS,
    SERVICES,
    THERE,
    Refused,
    assert_config_is_there,
    of_kind,
    pods,
    references,
    rendered,
    rendered_against,
)
from support.kubernetes import cluster


@pytest.mark.parametrize(
    ("objects", "values", "message"),
    [
        ({"Secret/default/gsc": None}, {}, "secret.existingSecret: there is no secret gsc in the namespace default"),
        ({"Secret/default/gsc": {"data": {"DSN": ""}}}, {}, "the secret gsc has no key GSC_POSTGRES_DSN"),
        ({"Secret/default/gsc": {}}, {}, "the secret gsc has no key GSC_POSTGRES_DSN"),
        ({"Secret/default/gsc-catalog": None}, {}, "catalog.existingSecret: there is no secret gsc-catalog"),
        ({"Secret/default/gsc-catalog": {"data": {"a.json": ""}}}, {}, "secret gsc-catalog has no key catalog.yaml"),
        ({}, {"catalog": CATALOGS["content"]}, "catalog.credentialsSecret: there is no secret files"),
    ],
)  # fmt: skip
def test_a_secret_that_is_not_there_is_reported_at_the_install(
    objects: dict[str, Any], values: dict[str, Any], message: str, folder: Path
) -> None:
    with cluster({**THERE, **objects}, folder) as kubeconfig, pytest.raises(Refused) as refused:
        rendered_against(kubeconfig, values)
    assert message in str(refused.value)


def test_a_service_gets_only_the_secrets_it_needs_and_time_to_stop() -> None:
    workloads = pods(rendered({}))
    names = {name: {item["name"] for item in pod["containers"][0].get("env", [])} for name, pod in workloads.items()}
    assert "GSC_POSTGRES_DSN" not in names["fetcher"] | names["topics"]
    assert "GSC_POSTGRES_DSN" in names["sink"] & names["producer"] & names["migrate"]
    assert [name for name in names if "GSC_HTTP_TOKEN" in names[name]] == ["producer"]
    seconds = {name: workloads[name]["terminationGracePeriodSeconds"] for name in SERVICES}
    assert seconds == {"producer": 30, "fetcher": 150, "sink": 60}


def test_the_fetchers_alone_get_a_token_for_google() -> None:
    audience = "//iam.googleapis.com/projects/1/providers/k8s"
    workloads = pods(rendered({"workloadIdentity": {"enabled": True, "audience": audience}}))
    sources = {
        name: [source for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", [])]
        for name, pod in workloads.items()
    }
    tokens = {name: [source for source in found if "serviceAccountToken" in source] for name, found in sources.items()}
    assert [name for name, found in tokens.items() if found] == ["fetcher"]
    assert tokens["fetcher"][0]["serviceAccountToken"] == {
        "path": "token",
        "audience": audience,
        "expirationSeconds": 3600,
    }
    mounts = {mount["name"]: mount for mount in workloads["fetcher"]["containers"][0]["volumeMounts"]}
    assert mounts["identity"]["mountPath"] == "/var/run/secrets/gsc-stream"


COMPONENTS = {"producer", "fetcher", "sink", "topics", "migrate", "daily"}


def test_each_component_may_have_a_secret_of_its_own() -> None:
    own = {name: {"existingSecret": f"only-{name}"} for name in COMPONENTS}
    values = {"secret": {"existingSecret": "", "components": own}, "daily": {"enabled": True}}
    secrets = {
        name: {secret for kind, secret in references(pod) if kind == "Secret"} - {"gsc-catalog"}
        for name, pod in pods(rendered(values)).items()
    }
    assert secrets == {name: {f"only-{name}"} for name in COMPONENTS}


def test_the_secrets_of_the_docs_give_each_component_its_own() -> None:
    text = (CHART.parents[1] / "docs/security.md").read_text()
    values = yaml.safe_load("secret:" + text.partition("```\nsecret:")[2].partition("```")[0])
    assert set(values["secret"]["components"]) == COMPONENTS
    values["secret"]["existingSecret"] = ""
    for name, pod in pods(rendered({**values, "daily": {"enabled": True}})).items():
        used = {secret for kind, secret in references(pod) if kind == "Secret"} - {"gsc-catalog"}
        assert used == {values["secret"]["components"][name]["existingSecret"]}, name


def test_a_component_may_have_an_entry_of_its_own_in_an_external_store() -> None:
    components = {"sink": {"remoteKey": "gsc/sink"}, "migrate": {"remoteKey": "gsc/owner"}}
    objects = rendered({"secret": {**SECRETS["external"], "components": components}})
    keys = {
        item["metadata"]["name"]: item["spec"]["dataFrom"][0]["extract"]["key"]
        for item in of_kind(objects, "ExternalSecret")
    }
    assert keys == {
        "r-gsc-stream": "gsc",
        "r-gsc-stream-hooks": "gsc",
        "r-gsc-stream-sink": "gsc/sink",
        "r-gsc-stream-hooks-migrate": "gsc/owner",
    }
    assert_config_is_there(objects)


@pytest.mark.parametrize("catalog", CATALOGS)
def test_the_fetchers_alone_get_googles_keys(catalog: str) -> None:
    workloads = pods(rendered({"catalog": CATALOGS[catalog], "daily": {"enabled": True}}))
    assert set(workloads) == COMPONENTS
    for name, pod in workloads.items():
        projected = [volume["projected"]["sources"] for volume in pod["volumes"] if "projected" in volume]
        secrets = [source["secret"] for sources in projected for source in sources if "secret" in source]
        whole = [
            secret for secret in secrets if secret.get("items") != [{"key": "catalog.yaml", "path": "catalog.yaml"}]
        ]
        assert bool(whole) == (name == "fetcher"), name
        assert bool(projected) == (name not in {"sink", "topics"}), name


def test_tokens_for_kafka_have_a_client_for_each_component_and_a_way_out() -> None:
    kafka = {"settings": {"sasl.oauthbearer.token.endpoint.url": "https://id.example/token"}}
    objects = rendered({"kafka": kafka, "networkPolicy": {"enabled": True}})
    for name, pod in pods(objects).items():
        keys = {item["name"] for item in pod["containers"][0]["env"]}
        assert keys >= {f"GSC_KAFKA_SASL_OAUTHBEARER_CLIENT_{part}" for part in ("ID", "SECRET")}, name
    for policy in of_kind(objects, "NetworkPolicy"):
        assert {"port": 443, "protocol": "TCP"} in policy["spec"]["egress"][1]["ports"], policy["metadata"]["name"]

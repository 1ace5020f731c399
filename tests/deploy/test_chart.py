"""The Helm chart: what it renders for all kinds of values is valid, restricted, and says what is missing."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from allpairspy import AllPairs

from support.chart import (
    ALL_ON,
    CATALOGS,
    CHART,
    LEAST,
    MINORS,
    SECRETS,
    SERVICES,
    TOPICS,
    Refused,
    assert_config_is_there,
    assert_restricted,
    hook_weight,
    is_hook,
    merged,
    of_kind,
    pods,
    rendered,
)
from support.tools import helm

ALL_OFF: dict[str, Any] = {
    name: {"enabled": False} for name in ("service", "podDisruptionBudget", "topologySpread", "migrations")
} | {"serviceAccount": {"create": False}}


def _combined(secret: str, catalog: str, topic: str, mode: str) -> dict[str, Any]:
    return {
        "secret": SECRETS[secret],
        "catalog": CATALOGS[catalog],
        "topics": TOPICS[topic],
        "fetcher": {"autoscaling": {"mode": mode}},
    }


EXTRAS: dict[str, dict[str, Any]] = {"plain": {}, "on": ALL_ON, "off": ALL_OFF}
PAIRWISE = [
    pytest.param(merged(EXTRAS[extras], _combined(*choice)), id="-".join((*choice, extras)))
    for *choice, extras in AllPairs(
        [list(SECRETS), list(CATALOGS), list(TOPICS), ["none", "keda", "hpa"], list(EXTRAS)]
    )
]
"""Every pair of two values occurs in one of them; all combinations would be 162."""
OTHERS = {"ScaledObject", "PodMonitor", "PrometheusRule", "KafkaTopic", "ExternalSecret"}
"""Kinds that Kubernetes has no schema of."""


@pytest.mark.parametrize("values", PAIRWISE)
def test_what_is_rendered_is_valid_and_restricted(values: dict[str, Any]) -> None:
    objects = rendered(values)
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names)
    for item in objects:
        if item["kind"] not in OTHERS:
            kubernetes_validate.validate(item, MINORS[-1], strict=True)
    workloads = pods(objects)
    assert set(SERVICES) <= set(workloads)
    for name, pod in workloads.items():
        assert_restricted(pod)
        assert (name in SERVICES) == ("livenessProbe" in pod["containers"][0])
    assert_config_is_there(objects)


@pytest.mark.parametrize("minor", MINORS)
def test_it_is_valid_in_three_minors_of_kubernetes(minor: str) -> None:
    objects = [item for item in rendered(ALL_ON, minor=minor) if item["kind"] not in OTHERS]
    assert len(objects) > len(SERVICES)
    for item in objects:
        kubernetes_validate.validate(item, minor, strict=True)  # raises what is invalid


def test_helm_finds_nothing_to_say_about_it(folder: Path) -> None:
    (folder / "values.yaml").write_text(yaml.safe_dump(merged(LEAST, ALL_ON)))
    command = [helm.path(), "lint", "--strict", CHART, "--kube-version", MINORS[0], "-f", folder / "values.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kafka": {"bootstrapServers": ""}}, "kafka.bootstrapServers: missing"),
    ({"secret": {"existingSecret": ""}}, "secret: give existingSecret, external or values.GSC_POSTGRES_DSN"),
    ({"secret": {"existingSecret": "", "external": {"enabled": True}}}, "secret.external: give storeName"),
    ({"catalog": {"existingSecret": ""}}, "catalog: give existingSecret, or content"),
    ({"catalog": {"existingSecret": "", "content": "x"}}, "catalog.credentialsSecret: missing"),
    ({"topics": {"mode": "strimzi"}}, "topics.strimzi.cluster: missing"),
    ({"workloadIdentity": {"enabled": True}}, "workloadIdentity.audience: missing"),
    ({"workloadIdentity": {"audience": "me"}}, "workloadIdentity/audience"),
    ({"daily": {"enabled": True}, "settings": {"daily_cron": "0 5 * * *"}}, "daily.enabled and settings.daily_cron"),
    ({"image": {"tag": "latest"}}, "image/tag"),
    ({"image": {"digest": "sha256:12"}}, "image/digest"),
    ({"settings": {"max_concurency": 3}}, "max_concurency"),
    ({"settings": {"max_concurrency": 0}}, "settings/max_concurrency"),
    ({"settings": {"quota_headroom": 1.5}}, "settings/quota_headroom"),
    ({"fetcher": {"replicas": "two"}}, "fetcher/replicas"),
    ({"fetcher": {"terminationGracePeriodSeconds": 149}}, "terminationGracePeriodSeconds: 149 is less than the 150"),
    ({"settings": {"http_timeout_s": 200}, "fetcher": {"terminationGracePeriodSeconds": 200}}, "less than the 230"),
    ({"fetcher": {"autoscaling": {"mode": "magic"}}}, "fetcher/autoscaling/mode"),
    ({"fetcher": {"resources": {"limits": None}}}, "limits"),
    ({"alerts": {"enabled": True, "thresholds": {"halt_secnds": 3}}}, "alerts.thresholds.halt_secnds"),
    ({"secret": {"values": {"GSC_POSTGRES_PASSWORD": "x"}}}, "GSC_POSTGRES_PASSWORD"),
    ({"producr": {}}, "producr"),
    ({"secret": {"components": {"sinc": {"existingSecret": "x"}}}}, "sinc"),
    ({"secret": {"components": {"sink": {"remoteKey": "x"}}}}, "secret.components.sink.remoteKey: needs"),
    ({"topics": {"partitions": 0}}, "topics/partitions"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_wrong_or_missing_values_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        rendered(values)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("settings_", "scaling", "most"),
    [
        ({}, {"credentials": 1}, 1),
        ({}, {"credentials": 4}, 4),  # 4 x 960 calls a minute by 1,000 of a fetcher
        ({}, {"credentials": 4, "callsPerMinute": 1921}, 2),
        ({}, {"credentials": 4, "callsPerMinute": 100}, 4),  # one fetcher at a time works for a credential
        ({"user_qpm": 600}, {"credentials": 4}, 2),
        ({"quota_headroom": 0.4}, {"credentials": 4}, 2),
        ({"project_qpm": 2500}, {"credentials": 4}, 2),
        ({"project_qpm": 2500}, {"credentials": 4, "projects": 2}, 4),
        ({}, {"credentials": 100}, 12),  # the partitions
        ({}, {"credentials": 100, "partitions": 40}, 32),  # the project's quota
        ({}, {"credentials": 100, "partitions": 40, "projects": 3}, 40),
        ({}, {"credentials": 8, "maxReplicas": 5}, 5),
        ({}, {"credentials": 1, "maxReplicas": 5}, 1),
        ({}, {"credentials": 1, "minReplicas": 3}, 3),
    ],
)
def test_no_more_fetchers_than_the_quota_keeps_busy(settings_: Any, scaling: dict[str, Any], most: int) -> None:
    kinds = {"keda": ("ScaledObject", "maxReplicaCount"), "hpa": ("HorizontalPodAutoscaler", "maxReplicas")}
    for mode, (kind, field) in kinds.items():
        chosen = {name: value for name, value in scaling.items() if name != "partitions"}
        values = {
            "settings": settings_,
            "fetcher": {"autoscaling": {"mode": mode, **chosen}},
            "topics": {"partitions": scaling.get("partitions")},
        }
        objects = rendered(values)
        (found,) = of_kind(objects, kind)
        assert found["spec"][field] == most
        replicas = {item["metadata"]["name"]: "replicas" in item["spec"] for item in of_kind(objects, "Deployment")}
        assert replicas == {"r-gsc-stream-producer": True, "r-gsc-stream-fetcher": False, "r-gsc-stream-sink": True}


def test_a_change_of_config_changes_the_pods() -> None:
    def checksums(values: dict[str, Any]) -> set[str]:
        found = of_kind(rendered(values), "Deployment")
        return {item["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for item in found}

    assert len(checksums({})) == 1
    assert checksums({}) != checksums({"settings": {"max_concurrency": 33}})
    contents = [{"catalog": {**CATALOGS["content"], "content": text}} for text in ("a: 1", "a: 2")]
    assert len({frozenset(checksums(values)) for values in contents}) == 1  # producer and fetchers reload it
    assert checksums({"secret": SECRETS["inline"]}) != checksums(
        {"secret": {"existingSecret": "", "values": {"GSC_POSTGRES_DSN": "postgresql://other"}}}
    )


def test_a_threshold_is_overridden_and_the_alerts_are_those_of_the_files() -> None:
    values = {"alerts": {"enabled": True, "thresholds": {"halt_seconds": 60}}}
    rules = {item["metadata"]["name"]: item["spec"] for item in of_kind(rendered(values), "PrometheusRule")}
    text = (CHART / "alerts/alerts.yaml").read_text()
    text = text.replace('deployment=~".*gsc-stream-(', 'namespace="default",deployment=~"r-gsc-stream-(')
    assert rules["r-gsc-stream-alerts"] == yaml.safe_load(text)
    thresholds = {rule["record"]: rule["expr"] for rule in rules["r-gsc-stream-thresholds"]["groups"][0]["rules"]}
    assert thresholds["gsc:threshold_halt_seconds"] == "vector(60)"
    assert thresholds["gsc:threshold_drain_seconds"] == "vector(14400)"
    labels = [rule["labels"] for rule in rules["r-gsc-stream-thresholds"]["groups"][0]["rules"]]
    assert labels == [{"namespace": "default"}] * len(labels)


def test_dashboards_are_those_of_the_files() -> None:
    maps = of_kind(rendered({"dashboards": {"enabled": True}}), "ConfigMap")
    texts = {name: text for item in maps for name, text in item["data"].items() if name.endswith(".json")}
    assert texts == {f"gsc-stream-{path.name}": path.read_text() for path in (CHART / "dashboards").iterdir()}


def test_services_of_the_namespace_add_no_variables() -> None:
    assert {pod["enableServiceLinks"] for pod in pods(rendered(ALL_ON)).values()} == {False}


def test_every_pod_gets_extra_variables() -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    source = {"secretRef": {"name": "extra"}}
    for pod in pods(rendered({"extraEnv": [proxy], "extraEnvFrom": [source]})).values():
        (container,) = pod["containers"]
        assert proxy in container["env"]
        assert source in container["envFrom"]


def test_a_component_may_be_scheduled_in_its_own_way() -> None:
    spread = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]
    own = {"nodeSelector": {"pool": "big"}, "topologySpreadConstraints": spread}
    values = {"nodeSelector": {"pool": "all"}, "sink": own, "jobs": {"nodeSelector": {"pool": "jobs"}}}
    workloads = pods(rendered(values))
    pools = {name: pod["nodeSelector"]["pool"] for name, pod in workloads.items()}
    assert pools == {"producer": "all", "fetcher": "all", "sink": "big", "topics": "jobs", "migrate": "jobs"}
    assert workloads["sink"]["topologySpreadConstraints"] == spread
    assert len(workloads["fetcher"]["topologySpreadConstraints"]) == 2


def test_hooks_have_an_account_that_is_there_before_them() -> None:
    objects = rendered({"serviceAccount": {"annotations": {"a": "b"}}})
    accounts = {item["metadata"]["name"]: item for item in of_kind(objects, "ServiceAccount")}
    for item in of_kind(objects, "Deployment", "Job"):
        account = accounts[pods([item]).popitem()[1]["serviceAccountName"]]
        assert is_hook(account) == is_hook(item)
        assert account["metadata"]["annotations"]["a"] == "b"
    assert hook_weight(accounts["r-gsc-stream-hooks"]) < min(hook_weight(item) for item in of_kind(objects, "Job"))


def test_a_pod_that_is_not_ready_keeps_no_node_from_being_drained() -> None:
    budgets = of_kind(rendered({}), "PodDisruptionBudget")
    assert {item["spec"]["unhealthyPodEvictionPolicy"] for item in budgets} == {"AlwaysAllow"}


@pytest.mark.parametrize(("address", "kind"), [("", "kafka"), ("http://prometheus:9090", "prometheus")])
def test_keda_scales_by_unfinished_pages_where_it_can_ask_prometheus(address: str, kind: str) -> None:
    scaling = {"mode": "keda", "prometheusAddress": address, "pagesPerFetcher": 300, "authenticationRef": "auth"}
    (scaled,) = of_kind(rendered({"fetcher": {"autoscaling": scaling}}), "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert (trigger["type"], trigger["authenticationRef"]) == (kind, {"name": "auth"})
    assert "300" in trigger["metadata"].values()


def test_keda_counts_pending_and_published_pages_even_when_one_of_them_has_no_series() -> None:
    scaling = {"mode": "keda", "prometheusAddress": "http://prometheus:9090"}
    (scaled,) = of_kind(rendered({"fetcher": {"autoscaling": scaling}}), "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    assert query == 'sum(gsc_unfinished_pages{namespace="default"})'
    (found,) = of_kind(rendered({"fetcher": {"autoscaling": {"mode": "hpa"}}}), "HorizontalPodAutoscaler")
    assert found["spec"]["metrics"][0]["external"]["metric"]["name"] == "gsc_unfinished_pages"


@pytest.mark.parametrize(
    ("servers", "ports"),
    [("kafka:9092", {9092}), ("b-1.msk:9096,b-2.msk:9096", {9096}), ("a:9092,b:9192", {9092, 9192}), ("kafka", {9092})],
)
def test_network_policies_open_the_ports_of_the_bootstrap_servers(servers: str, ports: set[int]) -> None:
    values = {"networkPolicy": {"enabled": True}, "kafka": {"bootstrapServers": servers}}
    for item in of_kind(rendered(values), "NetworkPolicy"):
        opened = {port["port"] for rule in item["spec"]["egress"] for port in rule["ports"]}
        assert opened - {53, 443, 5432} == ports, item["metadata"]["name"]


def test_network_policies_open_the_ports_of_the_values() -> None:
    policy = {"enabled": True, "kafkaPorts": [9098], "postgresPorts": [6432], "extraPorts": [3128]}
    ports = {
        item["metadata"]["name"].removeprefix("r-gsc-stream-"): {
            port["port"] for rule in item["spec"]["egress"] for port in rule["ports"]
        }
        for item in of_kind(rendered({"networkPolicy": policy}), "NetworkPolicy")
    }
    assert ports["fetcher"] == {53, 9098, 443, 3128}
    assert ports["sink"] == {53, 9098, 6432, 3128}

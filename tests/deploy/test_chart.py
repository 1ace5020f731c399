"""The Helm chart: what it renders for all kinds of values is valid, restricted, and says what is missing."""

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from allpairspy import AllPairs

from lab.chart_values import settings, topics
from pipeline.contracts.topics import ALL
from support.chart import (
    CHART,
    LEAST,
    MINORS,
    Refused,
    assert_restricted,
    merged,
    of_kind,
    pods,
    rendered,
    rendered_against,
)
from support.kubernetes import cluster
from support.tools import helm

SERVICES = ("producer", "fetcher", "sink")
SECRETS: dict[str, dict[str, Any]] = {
    "existing": {},
    "external": {"existingSecret": "", "external": {"enabled": True, "storeName": "vault", "remoteKey": "gsc"}},
    "inline": {"existingSecret": "", "values": {"GSC_POSTGRES_DSN": "postgresql://db/gsc", "GSC_HTTP_TOKEN": "t"}},
}
CATALOGS: dict[str, dict[str, Any]] = {
    "secret": {},
    "content": {"existingSecret": "", "content": "credentials: []\n", "credentialsSecret": "files"},
}
TOPICS: dict[str, dict[str, Any]] = {
    "job": {"replication": 3},
    "strimzi": {"mode": "strimzi", "replication": 3, "strimzi": {"cluster": "main", "namespace": "kafka"}},
    "none": {"mode": "none"},
}
ALL_ON: dict[str, Any] = {
    **{name: {"enabled": True} for name in ("daily", "podMonitor", "alerts", "dashboards", "migrations")},
    "networkPolicy": {"enabled": True, "ingressFrom": [{"namespaceSelector": {}}]},
    "settings": {"max_concurrency": 64, "transport": "batch", "site_qps": 15.5},
    "kafka": {"settings": {"security.protocol": "SASL_SSL", "socket.keepalive.enable": True}},
    "workloadIdentity": {"enabled": True, "audience": "//iam.googleapis.com/projects/1/providers/k8s"},
    "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "gsc@x.iam"}, "automountToken": True},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "nodeSelector": {"pool": "a"},
    "affinity": {"podAntiAffinity": {}},
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"a": "b"},
    "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
}
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
    _finds_its_config(objects)


def _finds_its_config(objects: list[dict[str, Any]]) -> None:
    """A hook runs before anything else is there: what it refers to is a hook, too, or was there before."""
    made = {
        (item["kind"].replace("ExternalSecret", "Secret"), item["metadata"]["name"]): item
        for item in of_kind(objects, "ConfigMap", "Secret", "ExternalSecret")
    }
    for item in of_kind(objects, "Deployment", "Job", "CronJob"):
        hook = _is_hook(item)
        for kind, name in _references(pods([item]).popitem()[1]):
            if name in {"gsc", "gsc-catalog", "files"}:
                continue
            assert _is_hook(made[kind, name]) == hook, (item["metadata"]["name"], name)
            if hook:
                assert _weight(made[kind, name]) < _weight(item)


def _is_hook(item: dict[str, Any]) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


def _weight(item: dict[str, Any]) -> int:
    return int(item["metadata"]["annotations"]["helm.sh/hook-weight"])


def _references(pod: dict[str, Any]) -> set[tuple[str, str]]:
    (container,) = pod["containers"]
    found = {("ConfigMap", source["configMapRef"]["name"]) for source in container["envFrom"]}
    variables = container.get("env", [])
    references = (variable["valueFrom"]["secretKeyRef"] for variable in variables if "valueFrom" in variable)
    found |= {("Secret", reference["name"]) for reference in references}
    projected = (source for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", []))
    kinds = {"configMap": "ConfigMap", "secret": "Secret"}
    return found | {(kinds[kind], source[kind]["name"]) for source in projected for kind in source if kind in kinds}


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


def test_topics_and_settings_are_those_of_the_code() -> None:
    assert json.loads((CHART / "files/topics.json").read_text()) == topics(), "run `make chart`"
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["settings"] == settings(), "run `make chart`"
    assert set(schema["properties"]) == {*yaml.safe_load((CHART / "values.yaml").read_text()), "global"}


def test_strimzi_gets_every_topic_as_the_code_has_it() -> None:
    made = {item["metadata"]["name"]: item for item in of_kind(rendered({"topics": TOPICS["strimzi"]}), "KafkaTopic")}
    assert set(made) == {topic.full_name("gsc") for topic in ALL}
    for topic in ALL:
        item = made[topic.full_name("gsc")]
        assert item["spec"]["partitions"] == topic.partitions
        assert item["spec"]["config"] == topic.config
        assert item["spec"]["replicas"] == 3
        assert item["metadata"]["labels"]["strimzi.io/cluster"] == "main"
        assert item["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


THERE: dict[str, Any] = {
    "ServiceAccount/default/default": {},
    "Secret/default/gsc": {"data": {"GSC_POSTGRES_DSN": ""}},
    "Secret/default/gsc-catalog": {"data": {"catalog.yaml": ""}},
}
"""A namespace with what LEAST names."""


@pytest.mark.parametrize(("there", "kept"), [(None, 12), (12, 12), (24, 24)])
def test_a_topic_that_is_there_never_shrinks(there: int | None, kept: int, folder: Path) -> None:
    topic = {} if there is None else {"KafkaTopic/kafka/gsc.batches": {"spec": {"partitions": there}}}
    with cluster({**THERE, **topic}, folder) as kubeconfig:
        made = of_kind(rendered_against(kubeconfig, {"topics": TOPICS["strimzi"]}), "KafkaTopic")
    assert {item["metadata"]["name"]: item["spec"]["partitions"] for item in made}["gsc.batches"] == kept


def test_partitions_are_not_added_silently(folder: Path) -> None:
    fewer = {"KafkaTopic/kafka/gsc.batches": {"spec": {"partitions": 6}}}
    with cluster({**THERE, **fewer}, folder) as kubeconfig, pytest.raises(Refused) as refused:
        rendered_against(kubeconfig, {"topics": TOPICS["strimzi"]})
    assert "gsc.batches has 6 partitions, not 12" in str(refused.value)


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
def test_a_secret_that_is_not_there_is_said_at_the_install(
    objects: dict[str, Any], values: dict[str, Any], message: str, folder: Path
) -> None:
    with cluster({**THERE, **objects}, folder) as kubeconfig, pytest.raises(Refused) as refused:
        rendered_against(kubeconfig, values)
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
    made = of_kind(rendered({"dashboards": {"enabled": True}}), "ConfigMap")
    texts = {name: text for item in made for name, text in item["data"].items() if name.endswith(".json")}
    assert texts == {f"gsc-stream-{path.name}": path.read_text() for path in (CHART / "dashboards").iterdir()}


COMPONENTS = {"producer", "fetcher", "sink", "topics", "migrate", "daily"}


def test_each_component_may_have_a_secret_of_its_own() -> None:
    own = {name: {"existingSecret": f"only-{name}"} for name in COMPONENTS}
    values = {"secret": {"existingSecret": "", "components": own}, "daily": {"enabled": True}}
    secrets = {
        name: {secret for kind, secret in _references(pod) if kind == "Secret"} - {"gsc-catalog"}
        for name, pod in pods(rendered(values)).items()
    }
    assert secrets == {name: {f"only-{name}"} for name in COMPONENTS}


def test_the_secrets_of_the_docs_give_each_component_its_own() -> None:
    text = (CHART.parents[1] / "docs/security.md").read_text()
    values = yaml.safe_load("secret:" + text.partition("```\nsecret:")[2].partition("```")[0])
    assert set(values["secret"]["components"]) == COMPONENTS
    values["secret"]["existingSecret"] = ""
    for name, pod in pods(rendered({**values, "daily": {"enabled": True}})).items():
        used = {secret for kind, secret in _references(pod) if kind == "Secret"} - {"gsc-catalog"}
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
    _finds_its_config(objects)


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
        assert _is_hook(account) == _is_hook(item)
        assert account["metadata"]["annotations"]["a"] == "b"
    assert _weight(accounts["r-gsc-stream-hooks"]) < min(_weight(item) for item in of_kind(objects, "Job"))


def test_the_number_of_partitions_is_one_value() -> None:
    strimzi = rendered({"topics": {**TOPICS["strimzi"], "partitions": 40}})
    made = {item["metadata"]["name"]: item["spec"]["partitions"] for item in of_kind(strimzi, "KafkaTopic")}
    assert {name for name, count in made.items() if count == 40} == {"gsc.batches", "gsc.results"}
    job = pods(rendered({"topics": {"partitions": 40, "waitSeconds": 60}}))["topics"]
    assert job["containers"][0]["args"] == ["topics", "--wait", "60", "--partitions", "40"]


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
    assert query == 'sum({__name__=~"gsc_(pending|published)_pages",namespace="default"})'


def test_tokens_for_kafka_have_a_client_for_each_component_and_a_way_out() -> None:
    kafka = {"settings": {"sasl.oauthbearer.token.endpoint.url": "https://id.example/token"}}
    objects = rendered({"kafka": kafka, "networkPolicy": {"enabled": True}})
    for name, pod in pods(objects).items():
        keys = {item["name"] for item in pod["containers"][0]["env"]}
        assert keys >= {f"GSC_KAFKA_SASL_OAUTHBEARER_CLIENT_{part}" for part in ("ID", "SECRET")}, name
    for policy in of_kind(objects, "NetworkPolicy"):
        assert {"port": 443, "protocol": "TCP"} in policy["spec"]["egress"][1]["ports"], policy["metadata"]["name"]


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

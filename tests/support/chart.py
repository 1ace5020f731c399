"""The chart, rendered by the real helm."""

import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.tools import helm

CHART = Path(__file__).parents[2] / "helm" / "gsc-stream"
MINORS = ("1.35", "1.36", "1.37")
LEAST: Mapping[str, Any] = {
    "kafka": {"bootstrapServers": "kafka:9092"},
    "secret": {"existingSecret": "gsc"},
    "catalog": {"existingSecret": "gsc-catalog"},
}
"""What must be given."""

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

THERE: dict[str, Any] = {
    "ServiceAccount/default/default": {},
    "Secret/default/gsc": {"data": {"GSC_POSTGRES_DSN": ""}},
    "Secret/default/gsc-catalog": {"data": {"catalog.yaml": ""}},
}
"""A namespace with what LEAST names."""


class Refused(Exception):
    """What helm prints when it refuses the values."""


Objects = list[dict[str, Any]]


def rendered(values: Mapping[str, Any], *, minor: str = MINORS[-1], namespace: str = "default") -> Objects:
    """The objects; raises Refused."""
    return list(_rendered(yaml.safe_dump(merged(LEAST, values)), minor, "--namespace", namespace))


def of_kind(objects: Objects, *kinds: str) -> Objects:
    return [found for found in objects if found["kind"] in kinds]


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The pod template of each workload, by its name."""
    found = {}
    for item in of_kind(objects, "Deployment", "Job", "CronJob"):
        spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
        found[item["metadata"]["name"].removeprefix("r-gsc-stream-")] = spec["template"]["spec"]
    return found


def assert_restricted(pod: Mapping[str, Any]) -> None:
    """A pod that Kubernetes admits as restricted, with a read-only root, a pinned image, requests and limits."""
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    own = container["securityContext"]
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not own.get("privileged")
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all("hostPath" not in volume for volume in pod["volumes"])
    tag = container["image"].rpartition(":")[2]
    assert tag
    assert tag != "latest"
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As helm merges values; None takes away."""
    whole = dict(base)
    for name, value in over.items():
        old = whole.get(name)
        whole[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return whole


def rendered_against(kubeconfig: Path, values: Mapping[str, Any]) -> Objects:
    """The objects, for a cluster that helm can ask; raises Refused."""
    asking = ("--dry-run=server", "--kubeconfig", str(kubeconfig))
    return list(_rendered(yaml.safe_dump(merged(LEAST, values)), MINORS[-1], *asking))


@cache
def _rendered(values: str, minor: str, *options: str) -> Objects:
    command = [helm.path(), "template", "r", CHART, "--kube-version", minor, "--values", "-", *options]
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return [item for item in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if item]


def assert_config_is_there(objects: list[dict[str, Any]]) -> None:
    """A hook runs before anything else is there: what it refers to is a hook, too, or was there before."""
    configs = {
        (item["kind"].replace("ExternalSecret", "Secret"), item["metadata"]["name"]): item
        for item in of_kind(objects, "ConfigMap", "Secret", "ExternalSecret")
    }
    for item in of_kind(objects, "Deployment", "Job", "CronJob"):
        hook = is_hook(item)
        for kind, name in references(pods([item]).popitem()[1]):
            if name in {"gsc", "gsc-catalog", "files"}:
                continue
            assert is_hook(configs[kind, name]) == hook, (item["metadata"]["name"], name)
            if hook:
                assert hook_weight(configs[kind, name]) < hook_weight(item)


def is_hook(item: dict[str, Any]) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


def hook_weight(item: dict[str, Any]) -> int:
    return int(item["metadata"]["annotations"]["helm.sh/hook-weight"])


def references(pod: dict[str, Any]) -> set[tuple[str, str]]:
    """Kind and name of each ConfigMap and Secret that a pod uses."""
    (container,) = pod["containers"]
    found = {("ConfigMap", source["configMapRef"]["name"]) for source in container["envFrom"]}
    variables = container.get("env", [])
    keys = (variable["valueFrom"]["secretKeyRef"] for variable in variables if "valueFrom" in variable)
    found |= {("Secret", reference["name"]) for reference in keys}
    projected = (source for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", []))
    kinds = {"configMap": "ConfigMap", "secret": "Secret"}
    return found | {(kinds[kind], source[kind]["name"]) for source in projected for kind in source if kind in kinds}

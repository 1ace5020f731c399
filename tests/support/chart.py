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


class Refused(Exception):
    """What helm says."""


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

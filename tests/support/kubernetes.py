"""As much of a Kubernetes API as `helm` asks for what is in a cluster: versions, kinds, and single objects."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

KINDS = {
    "v1": {"Secret": "secrets", "ServiceAccount": "serviceaccounts"},
    "kafka.strimzi.io/v1beta2": {"KafkaTopic": "kafkatopics"},
}
VERSION = {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}


@contextmanager
def cluster(objects: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """A cluster with these objects, by `KIND/NAMESPACE/NAME`; yields the kubeconfig."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = _answer(self.path.partition("?")[0], objects)
            body = json.dumps(answer or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield _kubeconfig(f"http://127.0.0.1:{server.server_port}", folder)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(path: str, objects: Mapping[str, Any]) -> dict[str, Any] | None:
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(v) for v in KINDS if "/" in v]}
    for version, kinds in KINDS.items():
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if path == root:
            return {"kind": "APIResourceList", "groupVersion": version, "resources": _resources(kinds)}
        for kind, plural in kinds.items():
            if (place := path.removeprefix(f"{root}/namespaces/").split("/"))[1:2] == [plural] and len(place) == 3:
                found = objects.get(f"{kind}/{place[0]}/{place[2]}")
                head = {"apiVersion": version, "kind": kind, "metadata": {"namespace": place[0], "name": place[2]}}
                return None if found is None else {**head, **found}
    return None


def _group(version: str) -> dict[str, Any]:
    named = {"groupVersion": version, "version": version.partition("/")[2]}
    return {"name": version.partition("/")[0], "versions": [named], "preferredVersion": named}


def _resources(kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": plural, "kind": kind, "namespaced": True, "verbs": ["get"]} for kind, plural in kinds.items()]


def _kubeconfig(server: str, folder: Path) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "c",
            }
        )
    )
    return path

"""A cluster as Helm's `lookup` sees one: an API server on loopback that answers reads."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import helm_python as helm
import yaml

from headrace.chaos.listening import Listening
from tests.unit.k8s.rendered import NAMESPACE, RELEASE, Document, chart

_KINDS = {"v1": {"Secret": "secrets"}, "apps/v1": {"Deployment": "deployments"}}


class Live(Listening):
    """Objects that are there, and the chart rendered as an upgrade that can look them up."""

    def __init__(self, *objects: Document) -> None:
        self.objects = {self._path(each): each for each in objects}
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)))

    def upgraded(self, values: Document) -> list[Document]:
        """All objects of the next revision."""
        server = {"server": self.origin}
        known = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": server}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
        }
        with helm.Config(kubeconfig_content=json.dumps(known), namespace=NAMESPACE) as config:
            files = config.render(
                chart(), values, name=RELEASE, namespace=NAMESPACE, revision=2, is_upgrade=True
            )
        texts = (text for path, text in files.items() if path.endswith(".yaml"))
        return [doc for text in texts for doc in yaml.safe_load_all(text) if doc]

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return what a GET of this path gets."""
        for version, kinds in _KINDS.items():
            if path == _root(version):
                resources = [
                    {"name": plural, "kind": kind, "namespaced": True, "verbs": ["get"]}
                    for kind, plural in kinds.items()
                ]
                return 200, {
                    "kind": "APIResourceList",
                    "groupVersion": version,
                    "resources": resources,
                }
        if found := self.objects.get(path):
            return 200, found
        gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        return 404, {**gone, "reason": "NotFound", "code": 404}

    @staticmethod
    def _path(doc: Document) -> str:
        plural = _KINDS[doc["apiVersion"]][doc["kind"]]
        name = doc["metadata"]["name"]
        return f"{_root(doc['apiVersion'])}/namespaces/{NAMESPACE}/{plural}/{name}"


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _handler(live: Live) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = live.answer(self.path.partition("?")[0])
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler

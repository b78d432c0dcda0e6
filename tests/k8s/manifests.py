"""The chart, rendered as `helm install` would, and what a kubelet looks up in it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHART = Path(__file__).parents[2] / "k8s" / "headrace"
RELEASE, NAMESPACE = "headrace", "prod"

Document = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """All objects of one revision of the release."""

    docs: list[Document]

    @classmethod
    def render(cls, values: Document, before: Manifests | None = None) -> Manifests:
        """Render the chart; Secrets that are to be kept stay as the revision `before` had them."""
        files = helm.Chart.load(CHART).render(values, name=RELEASE, namespace=NAMESPACE)
        docs = [
            doc
            for path, text in files.items()
            if path.endswith(".yaml")
            for doc in yaml.safe_load_all(text)
            if doc
        ]
        if before is None:
            return cls(docs)
        # The chart looks up in the live cluster what an install before this one has made.
        kept = {
            doc["metadata"]["name"]: doc
            for doc in before.of("Secret")
            if doc["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        }
        return cls(
            [kept.get(d["metadata"]["name"], d) if d["kind"] == "Secret" else d for d in docs]
        )

    def of(self, *kinds: str) -> list[Document]:
        """Return the objects of these kinds."""
        return [doc for doc in self.docs if doc["kind"] in kinds]

    def named(self, kind: str, name: str) -> Document:
        """Return one object."""
        [found] = [doc for doc in self.of(kind) if doc["metadata"]["name"] == name]
        return found

    def hooks(self, hook: str) -> list[Document]:
        """Return the objects that Helm makes at this point, and no other."""
        return [doc for doc in self.of("Job", "Pod") if hook in hooks_of(doc)]

    def data_of(self, kind: str, name: str) -> dict[str, str]:
        """Return what a ConfigMap or a Secret holds."""
        doc = self.named(kind, name)
        if kind == "ConfigMap":
            return dict(doc["data"])
        decoded = {key: base64.b64decode(text).decode() for key, text in doc["data"].items()}
        return {**decoded, **doc.get("stringData", {})}


def hooks_of(doc: Document) -> list[str]:
    """At which points Helm makes an object; none where it is a part of the release."""
    hooks = doc["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    return [each.strip() for each in hooks.split(",") if each]


def meets(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether a Service with this selector leads to a pod with these labels."""
    return selector.items() <= labels.items()


def template_of(doc: Document) -> Document:
    """Return the metadata and spec of the pods that an object makes."""
    if doc["kind"] == "Pod":
        return {"metadata": doc["metadata"], "spec": doc["spec"]}
    return dict(doc["spec"]["template"])

"""The chart, rendered in this process by Helm's own engine, and what can be asked of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

CHART = Path(__file__).parents[3] / "k8s" / "headrace"
CI_FILES = sorted(CHART.glob("ci/*-values.yaml"))
#: The three newest: what is listed may hold several patches of one.
MINORS = list(dict.fromkeys(each.rpartition(".")[0] for each in utils.all_versions()))[-3:]
RELEASE, NAMESPACE = "demo", "prod"

Document = dict[str, Any]

# Each call would read some megabytes again.
utils.schema_contents = functools.cache(utils.schema_contents)


@functools.cache
def chart() -> helm.Chart:
    """The chart, loaded once."""
    return helm.Chart.load(CHART)


@functools.cache
def spot_values() -> Document:
    """The values for spot nodes, with a model."""
    return {**_yaml((CHART / "values-spot.yaml").read_text()), "models": {"echo": {}}}


def values_of(name: str) -> Document:
    """The values of a file in ci/, or of the one for spot nodes."""
    if name == "spot":
        return spot_values()
    return dict(_yaml((CHART / "ci" / f"{name}-values.yaml").read_text()))


CASES = [path.name.removesuffix("-values.yaml") for path in CI_FILES] + ["spot"]


@dataclass(frozen=True)
class Pod:
    """A pod, or the template of one, and the object it stands in."""

    owner: Document
    metadata: Document
    spec: Document

    @property
    def component(self) -> str:
        return str(self.metadata["labels"]["app.kubernetes.io/component"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.metadata["labels"])

    @property
    def main(self) -> Document:
        [container] = self.spec["containers"]
        return dict(container)

    def env(self, config: dict[str, str]) -> dict[str, str]:
        """What the container's environment is; secrets are named by their entry."""
        found = dict(config) if "envFrom" in self.main else {}
        for each in self.main.get("env", []):
            found[each["name"]] = each.get("value", f"secret:{json.dumps(each.get('valueFrom'))}")
        return found

    def __str__(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"


class Rendered:
    """All documents of one set of values."""

    def __init__(self, values: Document) -> None:
        files = chart().render(values, name=RELEASE, namespace=NAMESPACE)
        self.notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
        self.docs: list[Document] = [
            doc
            for path, text in files.items()
            if path.endswith(".yaml")
            for doc in yaml.load_all(text, Loader=yaml.CSafeLoader)
            if doc
        ]
        self.values: Document = chart().merge_values(values)

    def of(self, *kinds: str) -> list[Document]:
        return [doc for doc in self.docs if doc["kind"] in kinds]

    def named(self, kind: str, name: str) -> Document:
        [found] = [doc for doc in self.of(kind) if doc["metadata"]["name"] == name]
        return found

    @property
    def pods(self) -> list[Pod]:
        return list(self._pods())

    def _pods(self) -> Iterator[Pod]:
        for doc in self.docs:
            if doc["kind"] == "Pod":
                yield Pod(doc, doc["metadata"], doc["spec"])
            elif doc["kind"] in {"Deployment", "StatefulSet", "Job"}:
                yield Pod(doc, doc["spec"]["template"]["metadata"], doc["spec"]["template"]["spec"])

    def pods_of(self, *components: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.component in components]

    @property
    def config(self) -> dict[str, str]:
        [found] = [
            doc for doc in self.of("ConfigMap") if doc["metadata"]["name"].endswith("config")
        ]
        return dict(found["data"])

    def model(self, pod: Pod) -> Document:
        """The values of a worker's model over the defaults."""
        own = self.values["models"][pod.labels["headrace/model"]] or {}
        return merged(self.values["worker"], own)


@functools.cache
def rendered(name: str) -> Rendered:
    """A case, rendered once."""
    return Rendered(values_of(name))


@functools.cache
def _crd_schemas() -> dict[str, Document]:
    return {
        path.stem: json.loads(path.read_text())
        for path in (Path(__file__).parent / "crds").glob("*.json")
    }


def check(doc: Document, *minors: str) -> None:
    """Hold a document against Kubernetes' own schemas, strictly, or that of its CRD."""
    schema = _crd_schemas().get(doc["kind"])
    if schema is not None:
        jsonschema.validate(doc, schema)
        return
    for minor in minors:
        kubernetes_validate.validate(doc, minor, strict=True)


def merged(base: Document, over: Document) -> Document:
    """Values over their defaults; what is null keeps its default out."""
    both = dict(base)
    for name, value in over.items():
        inner = both.get(name)
        both[name] = (
            merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return both


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=yaml.CSafeLoader)

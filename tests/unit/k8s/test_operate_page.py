"""What docs/operate.md tells helm and kubectl fits the chart, as far as that is seen here.

Helm installs for a dry run, as it does without a cluster. What kubectl is asked about is looked for
in what comes of that.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import helm_python as helm
import pytest
import yaml

from jobs.redis_url import target_of
from tests.operate_page import ROOT, Command, commands, dotted, values_file
from tests.unit.k8s.rendered import MINORS, Document, chart, check, merged

KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service"}
#: Of the command itself, and of what it does afterwards with a cluster.
DURATION = re.compile(r"(\d+[hms])+")
kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def of(*beginnings: str) -> list[Command]:
    """Return the page's commands that begin like this, those that are whole."""
    every = [each for each in commands() if each.beginning in beginnings and not each.spoken]
    assert every
    return every


CHANGES = of("helm install", "helm upgrade")


@dataclass(frozen=True)
class Called:
    """A command of helm, read as strictly as helm reads it."""

    release: str
    chart: str | None
    namespace: str
    values: Document


def called(command: Command) -> Called:
    """Read a command; an option that is not known here is an error."""
    _, verb, *words = command.words
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("release")
    if verb in {"install", "upgrade"}:
        parser.add_argument("chart")
        parser.add_argument("-f", action="append", default=[])
        parser.add_argument("--set", action="append", default=[])
    parser.add_argument("-n", required=True)
    parser.add_argument("--timeout", default="5m")
    given = parser.parse_args(words)
    assert DURATION.fullmatch(given.timeout)
    values: Document = {}
    for name in getattr(given, "f", []):
        text = values_file() if name == "values.yaml" else (ROOT / name).read_text()
        values = merged(values, helm.values_from_yaml(text))
    for expression in getattr(given, "set", []):
        values = merged(values, helm.parse_set_string(expression))
    return Called(given.release, getattr(given, "chart", None), given.n, values)


@functools.cache
def installed(command: Command) -> list[Document]:
    """Return what an install would make of the command, with its tests."""
    asked = called(command)
    assert asked.chart is not None
    with helm.Config(storage_driver="memory", kubeconfig_path="/nonexistent") as config:
        release = config.install(
            helm.Chart.load(ROOT / asked.chart),
            asked.release,
            asked.values,
            namespace=asked.namespace,
            dry_run="client",
        )
    files = chart().render(asked.values, name=asked.release, namespace=asked.namespace)
    tests = [text for path, text in files.items() if "/tests/" in path]
    return [
        doc for text in [release["manifest"], *tests] for doc in yaml.safe_load_all(text) if doc
    ]


@pytest.mark.parametrize("command", CHANGES, ids=lambda each: each.section)
def test_helm_takes_the_values(command: Command) -> None:
    asked = called(command)
    said = helm.lint(ROOT / str(asked.chart), asked.values, strict=True, namespace=asked.namespace)
    assert (said["total_charts_linted"], said["errors"]) == (1, [])
    # A name that is written wrong would be another model.
    assert set(asked.values["models"]) == set(called(CHANGES[0]).values["models"])
    docs = installed(command)
    for doc in docs:
        check(doc, MINORS[-1])
    assert scaled(docs) == wanted(command)


def scaled(docs: list[Document]) -> set[tuple[str, str]]:
    """Return what scales what."""
    kinds = {"ScaledObject", "HorizontalPodAutoscaler"}
    found = [
        (doc["kind"], doc["spec"]["scaleTargetRef"]["name"]) for doc in docs if doc["kind"] in kinds
    ]
    return set(found)


def wanted(command: Command) -> set[tuple[str, str]]:
    """Return what is to scale what: the values file has KEDA, and the command may say otherwise."""
    by_hpa = "autoscaling.type=hpa" in command.text
    of_api = {("HorizontalPodAutoscaler", "headrace-api")}
    worker = ("HorizontalPodAutoscaler" if by_hpa else "ScaledObject", "headrace-worker-embed")
    return {worker} | (of_api if "api.autoscaling.enabled=true" in command.text else set())


def test_every_command_means_the_same_release() -> None:
    [first] = [called(each) for each in CHANGES if each.beginning == "helm install"]
    helm.validate_release_name(first.release)
    every = [
        called(each) for each in of("helm install", "helm upgrade", "helm rollback", "helm test")
    ]
    assert {(each.release, each.namespace) for each in every} == {(first.release, first.namespace)}
    [made] = [each for each in of("kubectl create") if "namespace" in each.words]
    assert made.words[-1] == first.namespace
    for each in of("kubectl create", "kubectl rollout"):
        if each != made:
            assert each.words[1:3] == ["-n", first.namespace]


def test_helm_test_has_a_pod_for_each_model() -> None:
    [first, *_] = CHANGES
    models = called(first).values["models"]
    pods = [doc for doc in installed(first) if doc["kind"] == "Pod"]
    assert {doc["metadata"]["annotations"]["helm.sh/hook"] for doc in pods} == {"test"}
    assert len(pods) == len(models) > 0


def test_what_kubectl_waits_for_is_in_the_chart() -> None:
    for command in of("kubectl rollout"):
        *_, verb, target = command.words
        kind, _, name = target.partition("/")
        assert verb == "status"
        for change in CHANGES:
            found = {(doc["kind"], doc["metadata"]["name"]) for doc in installed(change)}
            assert (KINDS[kind], name) in found, change.text


def test_the_secret_is_the_one_that_the_pods_read() -> None:
    [command] = [each for each in of("kubectl create") if "secret" in each.words]
    name, literal = command.words[-2:]
    entry, _, url = literal.removeprefix("--from-literal=").partition("=")
    assert target_of(url, 1.0)
    for change in CHANGES:
        asked = [each for doc in installed(change) for each in secrets(doc)]
        assert (name, entry) in asked, change.text


def secrets(value: Any) -> list[tuple[str, str]]:
    """Return name and entry of every Secret that a document takes a variable from."""
    if isinstance(value, list):
        return [found for each in value for found in secrets(each)]
    if not isinstance(value, dict):
        return []
    own = value.get("secretKeyRef")
    inner = [found for each in value.values() for found in secrets(each)]
    return inner if own is None else [(own["name"], own["key"]), *inner]


def test_a_drain_has_the_options_that_the_pods_call_for() -> None:
    [command] = of("kubectl drain")
    volumes = [
        volume
        for doc in installed(CHANGES[0])
        if doc["kind"] == "Deployment"
        for volume in doc["spec"]["template"]["spec"].get("volumes", [])
    ]
    assert any("emptyDir" in volume for volume in volumes)
    assert set(command.words[3:]) == {"--ignore-daemonsets", "--delete-emptydir-data"}


@kubectl
def test_kubectl_knows_what_it_is_told(tmp_path) -> None:
    for command in of("kubectl create"):
        made = ask([*command.words, "--dry-run=client", "-o", "json"], tmp_path)
        doc = json.loads(made)
        assert doc["kind"].lower() in command.words
        if doc["kind"] == "Secret":
            [(_, value)] = doc["data"].items()
            assert base64.b64decode(value).decode() in command.text
    for command in of("kubectl drain", "kubectl rollout"):
        options = [word for word in command.words if word.startswith("--")]
        told = ask([*command.beginning.split(), "--help"], tmp_path)
        assert [option for option in options if f"{option}=" not in told] == []


def ask(words: list[str], folder) -> str:
    """Run kubectl where it knows of no cluster."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "KUBECONFIG": "/dev/null",
    }
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_each_value_in_a_sentence_is_one_of_the_chart() -> None:
    values = merged(chart().values, called(CHANGES[0]).values)
    models = {name: merged(values["worker"], own) for name, own in values["models"].items()}
    for name in dotted():
        found: Any = {**values, "models": models}
        for part in name.split("."):
            assert part in found, name
            found = found[part]

"""The chart as a package: it lints, renders, packs, and refuses what it does not know."""

from __future__ import annotations

import json
import re
import statistics
import tarfile
from typing import Any

import helm_python as helm
import pytest
import yaml

from telemetry.settings import SETTINGS
from tests.unit.k8s.rendered import (
    CASES,
    CHART,
    MINORS,
    RELEASE,
    Rendered,
    chart,
    check,
    rendered,
    values_of,
)

TEMPLATES = sorted([*CHART.glob("templates/**/*.yaml"), *CHART.glob("templates/**/*.t*")])

#: The settings that the chart sets from values of its own, or that are not for a process in a pod.
OWN = {
    *("REDIS_URL", "RQ_REDIS_URL", "API_HOST", "API_PORT", "API_WORKERS", "METRICS_PORT"),
    *("WORKER_PORT", "PROBE_HOST", "KEYS_FILE", "WEBHOOK_SECRET", "WEBHOOK_ALLOW"),
    *(
        "WEBHOOK_DENY",
        "WEBHOOK_PORTS",
        "DRAIN_S",
        "PINNED_ONLY",
        "DATA_DIR",
        "DEVICE",
        "WORKER_NAME",
        "URL",
    ),
    *("API_KEY", "INSECURE"),
}


@pytest.mark.parametrize("case", [None, *CASES])
def test_the_chart_lints_clean(case):
    values = {} if case is None else values_of(case)
    report = helm.lint(CHART, values, strict=True, kube_version="v1.34.0")
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("minor", MINORS)
def test_the_defaults_are_valid(minor):
    for doc in Rendered({}).docs:
        check(doc, minor)


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("case", CASES)
def test_what_a_case_renders_is_valid(case, minor):
    for doc in rendered(case).docs:
        check(doc, minor)


def test_every_kind_is_rendered_by_some_case():
    kinds = {doc["kind"] for case in CASES for doc in rendered(case).docs}
    known = {"ScaledObject", "TriggerAuthentication", "HTTPRoute", "ServiceMonitor", "PodMonitor"}
    assert known | {"Ingress", "HorizontalPodAutoscaler", "StatefulSet", "Job", "Pod"} <= kinds


def test_the_package_holds_the_chart_and_renders_the_same(tmp_path):
    archive = helm.package(CHART, destination=tmp_path)
    with tarfile.open(archive) as packed:
        names = {each.name.removeprefix("headrace/") for each in packed.getmembers()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md"} <= names
    assert not any(name.startswith("ci/") for name in names)
    with helm.Chart.load(archive) as other:
        values = values_of("keda")
        ours = chart().render(values, name=RELEASE)
        theirs = other.render(values, name=RELEASE)
    keys = "headrace/templates/api/keys.yaml"
    assert {**ours, keys: ""} == {**theirs, keys: ""}


def test_the_version_is_that_of_the_package():
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    [version] = re.findall(r'^version = "(.+)"', project, re.MULTILINE)
    assert (chart().metadata["appVersion"], chart().metadata["version"]) == (version, version)


def paths(schema: dict[str, Any], root: dict[str, Any], *so_far: str) -> list[tuple[str, ...]]:
    """The place of each object in the values that refuses what it does not know."""
    while "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    closed = [so_far] if schema.get("additionalProperties") is False else []
    inner = [
        path
        for name, each in schema.get("properties", {}).items()
        for path in paths(each, root, *so_far, name)
    ]
    if so_far == ("models",):
        inner += paths(schema["additionalProperties"], root, "models", "echo")
    return closed + inner


SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("path", paths(SCHEMA, SCHEMA), ids=".".join)
def test_a_typo_is_refused_by_its_name(path):
    values: dict[str, Any] = {"replcas": 1}
    for name in reversed(path):
        values = {name: values}
    with pytest.raises(helm.HelmValuesError, match="replcas"):
        chart().render(values)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"api": {"replicas": "two"}}, "replicas"),
        ({"config": {"REDIS_URL": "redis://x"}}, "REDIS_URL"),
        ({"config": {"DRAINS": 1}}, "DRAINS"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"redis": {"bundled": {"enabled": False}}}, "existingSecret"),
        ({"api": {"gateway": {"enabled": True}}}, "parentRefs"),
        ({"api": {"gateway": {"timeoutS": 60}}}, "timeoutS"),
        ({"models": {"a": {"volume": {"type": "pvc"}}}}, "claim"),
        ({"models": {"a": {"volume": {"type": "hostPath", "path": ""}}}}, "path"),
        ({"models": {"a": {"autoscaling": {"type": "kedda"}}}}, "type"),
        ({"models": {"Echo_1": {}}}, "Echo_1"),
        ({"worker": {"env": [{"name": "HEADRACE_DRAIN_S", "value": "1"}]}}, "name"),
        ({"podSecurity": {"user": 0}}, "user"),
        ({"api": {"podLabels": {"app.kubernetes.io/name": "x"}}}, "kubernetes.io/name"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(values, named):
    with pytest.raises(helm.HelmValuesError, match=named):
        chart().render(values)


def test_each_setting_is_set_by_the_chart_or_may_be_given():
    assert set(SCHEMA["properties"]["config"]["properties"]) == set(SETTINGS) - OWN


def test_each_value_is_in_the_schema_and_each_of_the_schema_has_a_default():
    def compare(values: Any, schema: dict[str, Any], *place: str) -> None:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = SCHEMA["definitions"].get(name) or SCHEMA["properties"]["worker"][name]
        if "allOf" in schema and "properties" not in schema:
            schema = SCHEMA["definitions"]["image"]
        known = schema.get("properties")
        if not known or schema.get("additionalProperties") is not False:
            return
        if place[-1:] in {("affinity",), ("resources",)} or place == ("config",):
            return
        assert set(values) == set(known) - {"global"}, place
        for key, value in values.items():
            compare(value, known[key], *place, key)

    compare(chart().values, SCHEMA)


#: Maps and lists whose content is the user's, or Kubernetes' own.
FREE = ("annotations", "config", "labels", "resources", "tolerations")


def test_every_value_has_a_comment():
    silent, free, before = [], None, ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        level = len(line) - len(line.lstrip())
        if free is not None and (level > free or not line):
            continue
        free = None
        if found := re.match(r" *(\w+):", line):
            silent += [] if before.lstrip().startswith("#") else [line]
            free = level if found[1] in FREE else None
        before = line
    assert silent == []


def test_a_value_lies_at_most_two_levels_below_its_section():
    def depth(values: Any, level: int = 0) -> int:
        if not isinstance(values, dict) or not values:
            return level
        return max(
            level + 1 if name in FREE else depth(each, level + 1) for name, each in values.items()
        )

    assert depth(yaml.safe_load((CHART / "values.yaml").read_text())) <= 3


def nesting(text: str) -> int:
    deepest = level = 0
    for word in re.findall(r"\{\{-?\s*(if|with|range|end|define)\b", text):
        level += -1 if word == "end" else (0 if word == "define" else 1)
        # A define's own end goes below: it closes what was not counted.
        level = max(level, 0)
        deepest = max(deepest, level)
    return deepest


def test_templates_are_short_and_flat():
    lines = {path.name: len(path.read_text().splitlines()) for path in TEMPLATES}
    assert statistics.median(lines.values()) <= 40
    assert max(lines.values()) <= 150
    assert max(nesting(path.read_text()) for path in TEMPLATES) <= 4


@pytest.mark.parametrize("case", CASES)
def test_the_notes_tell_the_first_request(case):
    notes = rendered(case).notes
    assert "port-forward svc/" in notes
    assert ("headrace submit" in notes) == bool(values_of(case).get("models"))

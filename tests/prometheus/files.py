"""What the chart hands to Prometheus and Grafana, and what the docs say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "k8s" / "headrace" / "files" / "alerts.yaml"
DASHBOARD = ROOT / "k8s" / "headrace" / "files" / "dashboard.json"
SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))

#: The name of a metric of ours in an expression; recorded ones have colons.
_METRIC = re.compile(r"\bheadrace_(\w+)")
_PARTS = re.compile(r"_(bucket|count|sum)$")


def rules() -> list[dict[str, Any]]:
    """Return every rule of the file."""
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> dict[str, dict[str, Any]]:
    """Return every alert by its name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> dict[str, str]:
    """Return the expression of every recording rule by its name."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def documented() -> list[str]:
    """Return every metric of docs/metrics.md, as its table names it."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def metrics_of(expression: str) -> set[str]:
    """Return the metrics that an expression reads, as docs/metrics.md names them."""
    for name, expr in recorded().items():
        expression = expression.replace(name, f"({expr})")
    return {_PARTS.sub("", name) for name in _METRIC.findall(expression)}


def targets() -> Iterator[tuple[str, str]]:
    """Yield title of the panel and expression of everything that the dashboard asks."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def filled_in(expression: str, interval: str = "1m") -> str:
    """Put in what Grafana puts in, with everything chosen."""
    for name, value in {"__rate_interval": interval, "namespace": ".*", "model": ".*"}.items():
        expression = expression.replace(f"${name}", value)
    return expression

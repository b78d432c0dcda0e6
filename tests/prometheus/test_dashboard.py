"""The dashboard is one that Grafana reads, and shows every metric there is."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import yaml

from .files import DASHBOARD, ROOT, documented, filled_in, metrics_of, targets
from .tools import Tools


def board() -> dict[str, object]:
    return json.loads(DASHBOARD.read_text())


def test_every_metric_is_shown_and_no_other() -> None:
    shown = set().union(*(metrics_of(expression) for _, expression in targets()))
    assert shown == set(documented())


def test_every_expression_is_valid(tools: Tools, tmp_path: Path) -> None:
    found = [
        {"record": f"panel:{number}", "expr": filled_in(expression)}
        for number, (_, expression) in enumerate(targets())
    ]
    path = tmp_path / "dashboard.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": found}]}))
    done = subprocess.run(
        [tools.promtool, "check", "rules", path],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_figure_of_the_queue_is_the_largest_and_not_the_sum() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    queue = re.findall(r"^\| `(\w+)` \|[^|]*\| queue \|", page, re.MULTILINE)
    for title, expression in targets():
        for name in [*queue, "webhook_pending"]:
            assert not re.search(rf"(sum|count|avg)[^(]*\(headrace_{name}\b", expression), title


def test_panels_are_told_apart_and_stand_beside_each_other() -> None:
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_a_source_and_a_model_can_be_chosen_and_are_asked_everywhere() -> None:
    made = board()
    assert made["schemaVersion"] >= 39
    variables = {each["name"]: each for each in made["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert set(variables) == {"datasource", "namespace", "model"}
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in made["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["datasource"] == source
        for target in panel["targets"]:
            assert target["datasource"] == source
            selectors = re.findall(r"headrace_\w+(\{[^}]*\}|)", target["expr"])
            assert all('namespace=~"$namespace"' in each for each in selectors)
    rows = [panel["title"] for panel in made["panels"] if panel["type"] == "row"]
    assert rows == ["Promise", "Latency", "Throughput", "GPU", "Webhooks", "Redis and processes"]

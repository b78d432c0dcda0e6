"""Each alert fires in its scenario and in no other, as Debian's promtool finds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from .files import ROOT, RULES, SCENARIOS, alerts, documented, metrics_of, recorded, rules
from .tools import Tools


def promtool(tools: Tools, *words: object) -> subprocess.CompletedProcess[str]:
    command = [tools.promtool, *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def scenarios() -> list[dict[str, object]]:
    return [case for path in SCENARIOS for case in yaml.safe_load(path.read_text())["tests"]]


def fired(case: dict[str, object]) -> set[str]:
    samples = [each for test in case["promql_expr_test"] for each in test["exp_samples"]]
    return {re.search(r'alertname="(\w+)"', each["labels"])[1] for each in samples}


def test_the_rules_are_valid(tools: Tools) -> None:
    done = promtool(tools, "check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_each_alert_fires_in_its_scenario_and_not_otherwise(tools: Tools) -> None:
    done = promtool(tools, "test", "rules", *SCENARIOS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts())
def test_no_alert_is_left_out(alert: str) -> None:
    needed = metrics_of(alerts()[alert]["expr"])
    firing, quiet = [], []
    for case in scenarios():
        name, _, what = case["name"].partition(" ")
        if name == alert:
            (firing if what.startswith("fires:") else quiet).append(case)
            assert what.startswith(("fires:", "quiet:"))
            assert (alert in fired(case)) == what.startswith("fires:")
    assert firing
    assert quiet
    # A quiet case that has none of what the rule looks at would be quiet whatever the rule says.
    for case in quiet:
        given = {_name(each["series"]) for each in case["input_series"]}
        assert needed & {re.sub(r"_bucket$", "", name) for name in given}


def _name(series: str) -> str:
    return series.partition("{")[0].removeprefix("headrace_")


def test_each_scenario_lists_all_that_fires() -> None:
    """So that what is not expected may not fire, and nothing can be always or never true."""
    everything = (
        'count without (namespace, job, severity, alertstate) (ALERTS{alertstate="firing"})'
    )
    for case in scenarios():
        assert {test["expr"] for test in case["promql_expr_test"]} == {everything}


@pytest.mark.parametrize(
    ("record", "scenario"),
    [
        ("headrace:backlog_seconds:max", "queue"),
        ("headrace:queue_oldest_seconds:max", "queue"),
        ("headrace:webhook_pending:max", "webhooks"),
    ],
)
def test_a_sum_over_replicas_is_noticed(
    tools: Tools, tmp_path: Path, record: str, scenario: str
) -> None:
    text, expression = RULES.read_text(), recorded()[record]
    assert text.count(f"expr: {expression}\n") == 1
    summed = text.replace(expression, expression.replace("max by", "sum by"))
    (tmp_path / "alerts.yaml").write_text(summed)
    [path] = [each for each in SCENARIOS if each.stem == scenario]
    moved = tmp_path / path.name
    moved.write_text(re.sub(r"- \S+alerts\.yaml", "- alerts.yaml", path.read_text()))
    done = promtool(tools, "test", "rules", moved)
    assert done.returncode != 0
    assert "FAILED" in done.stderr + done.stdout


def test_what_only_the_queue_knows_is_never_summed() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    queue = re.findall(r"^\| `(\w+)` \|[^|]*\| queue \|", page, re.MULTILINE)
    assert "jobs_queued" in queue
    for rule in rules():
        assert not re.search(rf"sum[^()]*\(\s*headrace_({'|'.join(queue)})", rule["expr"])
    for name in [*queue, "webhook_pending"]:
        if name != "redis_up":
            assert recorded()[f"headrace:{name}:max"].startswith("max by")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_read_what_is_documented(rule: dict[str, object]) -> None:
    assert metrics_of(rule["expr"])
    assert metrics_of(rule["expr"]) <= set(documented())


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_what_it_is_and_what_to_do(alert: str) -> None:
    rule = alerts()[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    text = (ROOT / page).read_text()
    assert anchor == alert.lower()
    [about] = re.findall(rf"^## {alert}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert "**Look**" in about
    assert "**Do**" in about
    row = f"| [{alert}](#{anchor}) | {rule['labels']['severity']} |"
    assert text.count(row) == 1
    # A label that the expression does not keep would be shown as nothing.
    shown = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    expression = rule["expr"]
    for name, recording in recorded().items():
        expression = expression.replace(name, recording)
    kept = {"instance", "job"} if expression.startswith("up ") else set()
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        kept |= {label.strip() for label in labels.split(",")}
    assert shown <= kept


def test_the_page_knows_no_other_alert() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(alerts())
    assert set(re.findall(r"\bHeadrace[A-Z]\w+", text)) == set(alerts())

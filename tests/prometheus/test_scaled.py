"""The rules that a live run is held to are those of the chart, but for their pace."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from .files import RULES, alerts, rules
from .scaled import FACTOR, milliseconds, scaled, times, without_times
from .tools import Tools


def test_times_are_divided_by_the_factor_and_nothing_else_changes() -> None:
    text = RULES.read_text()
    made = scaled(text)
    assert [FACTOR * each for each in times(made)] == times(text)
    assert without_times(made) == without_times(text)


def test_no_time_of_a_rule_is_left_out() -> None:
    loose = re.compile(r"(?<![\w.])\d+(?:ms|[smhdwy])\b")
    written = [rule["expr"] for rule in rules()] + [str(each.get("for", "")) for each in rules()]
    found = [milliseconds(time) for text in written for time in loose.findall(text)]
    assert sorted(found) == sorted(times(RULES.read_text()))
    assert len(found) > len(alerts())


def test_labels_and_words_stay_and_the_result_is_valid(tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(scaled(RULES.read_text()))
    made = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    kept = ("alert", "record", "labels", "annotations")
    for ours, theirs in zip(made, rules(), strict=True):
        assert [ours.get(name) for name in kept] == [theirs.get(name) for name in kept]
    command = [tools.promtool, "check", "rules", path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    for: 1h30m\n", "    for: 90000ms\n"),
        ("rate(x[5m] offset 1h)", "rate(x[5000ms] offset 60000ms)"),
        ("max_over_time(x[1d:5m])", "max_over_time(x[1440000ms:5000ms])"),
        ('x{route=~"/[{]a5m[}]"} > 600', 'x{route=~"/[{]a5m[}]"} > 600'),
        ("headrace:x:rate5m", "headrace:x:rate5m"),
        ("predict_linear(x[20m], 3600)", "predict_linear(x[20000ms], 3600)"),
    ],
)
def test_a_time_is_known_by_its_place(before: str, after: str) -> None:
    assert scaled(before) == after


def test_a_time_that_does_not_divide_is_refused() -> None:
    with pytest.raises(AssertionError):
        scaled("x[50ms]")

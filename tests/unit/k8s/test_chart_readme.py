"""What the chart's README shows works."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from jobs.connection import RedisConnections
from jobs.keystore import KeyStore
from tests.unit.k8s.rendered import CHART, MINORS, Rendered, check

README = (CHART / "README.md").read_text()


def block(beginning: str) -> str:
    [found] = [
        text
        for text in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
        if text.startswith(beginning)
    ]
    return str(found)


def test_the_first_values_are_a_headrace():
    [text] = re.findall(r"<<'END'\n(.*?)END\n", block("cat > values.yaml"), re.DOTALL)
    shown = Rendered(yaml.safe_load(text))
    for doc in shown.docs:
        check(doc, MINORS[-1])
    [worker] = shown.pods_of("worker")
    assert worker.main["image"] == "registry.example.com/team/echo-worker:0.1.0"
    assert worker.main["args"] == ["worker", "/models/echo"]
    assert len(shown.pods_of("test")) == 1


def test_the_values_of_the_projects_page_are_a_headrace():
    page = (CHART.parents[1] / "README.md").read_text()
    [text] = re.findall(r"```yaml\n(# values.yaml.*?)```", page, re.DOTALL)
    shown = Rendered(yaml.safe_load(text))
    for doc in shown.docs:
        check(doc, MINORS[-1])
    assert len(shown.pods_of("worker")) == len(shown.of("ScaledObject")) == 1
    assert not shown.of("StatefulSet")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_keys_that_are_made_by_hand_are_keys(tmp_path, redis_url):
    script = block("for role in").partition("kubectl")[0]
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True)
    assert asyncio.run(roles(redis_url, tmp_path / "keys")) == {"admin", "submit", "read"}


async def roles(redis_url: str, file: Path) -> set[str]:
    async with RedisConnections(redis_url) as connections:
        await KeyStore(connections).seed(file)
        return {str(each.role) for each in await KeyStore(connections).records()}


def test_every_section_of_the_values_is_told_of():
    table = README.partition("## Values")[2].partition("## Models")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row)}
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) - named == {
        "nameOverride",
        "fullnameOverride",
    }

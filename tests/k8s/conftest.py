"""One cluster for all tests: its values, its two models, and a receiver of webhooks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.chaos.process import until
from headrace.chaos.receiver import Receiver
from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import CHAOS_MODEL

from .cluster import Cluster
from .manifests import Document
from .pod import Pod

#: what a worker says of itself may be ahead of what the API has heard
_HEARD_S = 1.5
#: until there is an API to ask
_INSTALL_S = 20.0
#: longer than between two probes, so that one meets a worker whose model is being loaded
_LOAD_S = 7.0
#: where the model that is scaled writes down its runs: a place that all its pods share
SIDE_LOG = "/models/runs"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each pod needs an address of its own on loopback, which Linux alone has."""
    if sys.platform != "linux":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="Linux alone has all of 127.0.0.0/8"))


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that fails now and then, so that retries have work."""
    book = tmp_path_factory.mktemp("receiver") / "book"
    with Receiver(book, seed=1, fails=0.05) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def values(receiver: Receiver) -> Document:
    """Two workers of a model, and a model that is scaled from zero."""
    port = httpx.URL(receiver.url).port
    ours: dict[str, Any] = {"gpu": {"enabled": False}}
    scaled = {"type": "keda", "minReplicas": 0, "maxReplicas": 2, "pollingS": 1}
    scaled |= {"cooldownS": 2, "stabilizationS": 2}
    cold = {"drainS": 1, "timeoutS": 20, "env": [{"name": "CHAOS_LOG", "value": SIDE_LOG}]}
    return {
        "config": {"WEBHOOK_DELAY_SCALE": 0.1},
        "webhooks": {"allow": ["127.0.0.1"], "ports": [port]},
        "models": {
            "chaos": {**ours, "replicas": 2, "testInput": {"n": 7}},
            "cold": {**ours, **cold, "autoscaling": scaled, "testInput": {"n": 8}},
        },
    }


@pytest.fixture
def side_log(cluster: Cluster) -> SideLog:
    """What the model that is scaled says of its runs."""
    return SideLog(cluster.volumes["/models"] / Path(SIDE_LOG).name)


@pytest.fixture(scope="module")
def cluster(values: Document, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The chart, installed."""
    images = tmp_path_factory.mktemp("images")
    for name in values["models"]:
        shutil.copytree(CHAOS_MODEL, images / name, ignore=shutil.ignore_patterns("__pycache__"))
        (images / name / "model.toml").write_text(f'name = "{name}"\n')
    code = images / "cold" / "model.py"
    nothing = '"""Nothing to load."""'
    assert nothing in code.read_text()
    code.write_text(code.read_text().replace(nothing, f"time.sleep({_LOAD_S})"))
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(folder, values, {"/models": images}) as cluster:
        cluster.truths = {
            "api": lambda pod: _answers(cluster, pod),
            "worker": lambda pod: _serves(cluster, pod),
        }
        cluster.install()
        yield cluster


def _answers(cluster: Cluster, pod: Pod) -> str | None:
    """Say what is wrong with an API that is called ready."""
    with cluster.client("read-key") as client:
        try:
            answer = client.get(f"http://{pod.address}:{pod.port('http')}/v1/models")
        except httpx.TransportError as error:
            return repr(error)
    # While Redis is away that is what it has to say.
    good = answer.status_code == 200 or answer.json()["code"] == "queue_unavailable"
    return None if good else answer.text


def _serves(cluster: Cluster, pod: Pod) -> str | None:
    """Say what is wrong with a worker that is called ready."""
    path = f"/v1/models/{pod.labels['headrace/model']}"

    def answer() -> httpx.Response | None:
        try:
            return client.get(path)
        except httpx.TransportError:
            return None

    said: dict[str, str] = {}

    def ready() -> bool:
        if found := answer():
            said.update({each["name"]: each["state"] for each in found.json().get("workers", [])})
        return said.get(pod.name) == "ready"

    with cluster.client("read-key") as client:
        try:
            until(answer, _INSTALL_S, "an API")
            until(ready, _HEARD_S)
        except TimeoutError as error:
            return f"the API knows of {said} ({error})"
    return None

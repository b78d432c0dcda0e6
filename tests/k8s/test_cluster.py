"""What the chart says, run: installs, scales from zero, and rolls without anybody noticing."""

from __future__ import annotations

import copy
import re
import time

import pytest

from headrace.chaos.process import until
from headrace.chaos.receiver import Receiver

from .cluster import Cluster
from .keda import Keda
from .load import Load, loaded
from .manifests import Document, template_of

pytestmark = pytest.mark.timeout(180)

COLD = "headrace-worker-cold"
#: much longer than `drainS` there, and than it takes to go down
LONG_S = 15.0
DEPLOYMENTS = (
    *("headrace-api", "headrace-worker-chaos"),
    *("headrace-sender", "headrace-retries", "headrace-cron"),
)


@pytest.fixture(autouse=True)
def no_trouble(cluster: Cluster):
    """No pod ended by itself, failed its liveness, outlived its grace, or was ready in vain."""
    yield
    assert cluster.troubles() == []


def test_a_model_is_known_before_it_has_had_a_worker(cluster):
    assert cluster.workloads[COLD].pods == []
    with cluster.client("read-key") as client:
        card = client.get("/v1/models/cold").json()
    assert (card["state"], card["workers"]) == ("cold", [])


@pytest.mark.parametrize("component", ["api", "worker", "sender"])
def test_with_the_variables_of_services_a_process_would_refuse_to_start(cluster, component):
    deployments = cluster.manifests.of("Deployment")
    [doc, *_] = [
        each
        for each in deployments
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    linked = copy.deepcopy(doc)
    assert template_of(linked)["spec"].pop("enableServiceLinks") is False
    code, said = cluster.run(linked, 30)
    assert code == 2
    assert re.match(r"HEADRACE_API_\w+ is not a setting\.", said), said


def test_helm_test_passes(cluster):
    pods = {doc["metadata"]["name"]: doc for doc in cluster.manifests.hooks("test")}
    code, said = cluster.run(pods["headrace-test-chaos"])
    assert code == 0, said
    assert '"status":"succeeded"' in said.replace(" ", "")


def test_from_zero_to_one_and_back(cluster):
    with cluster.client("submit-key") as client, Keda(cluster, COLD) as keda:
        assert keda.wanted() == 0
        body = {"input": {"seconds": 4.0}}
        answer = client.post("/v1/models/cold/jobs", json=body)
        assert answer.status_code == 202
        job = answer.json()["id"]
        assert keda.wanted() >= 1
        until(lambda: client.get(f"/v1/jobs/{job}").json()["status"] == "running", 60)
        began = time.monotonic()
        while client.get(f"/v1/jobs/{job}").json()["status"] == "running":
            # The queue is empty, and its only worker is not to be taken away.
            wanted, still = keda.wanted(), client.get(f"/v1/jobs/{job}").json()["status"]
            assert wanted >= 1 or still != "running"
            time.sleep(0.2)
        assert time.monotonic() - began > 2
        assert client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded"
        assert len(cluster.workloads[COLD].pods) == 1
        until(lambda: cluster.workloads[COLD].replicas == 0, 30, "back to zero")
        assert keda.wanted() == 0
    assert keda.failures == []
    assert (1, 0) in keda.looks
    assert [each.exit_code for each in cluster.workloads[COLD].ended] == [0]


def test_helm_test_wakes_a_worker(cluster):
    [doc] = [d for d in cluster.manifests.hooks("test") if d["metadata"]["name"].endswith("cold")]
    with Keda(cluster, COLD):
        code, said = cluster.run(doc, doc["spec"]["activeDeadlineSeconds"])
        until(lambda: cluster.workloads[COLD].replicas == 0, 30, "back to zero")
    assert code == 0, said


def test_a_busy_worker_that_has_to_go_ends_its_job(cluster, side_log, values, monkeypatch):
    """A ReplicaSet may choose the busy one of two: nothing is lost but an idle worker's rest."""
    workload = cluster.workloads[COLD]
    workload.scale(2)
    workload.await_ready()
    with cluster.client("submit-key") as client:
        job = client.post("/v1/models/cold/jobs", json={"input": {"seconds": LONG_S}}).json()["id"]

        def status() -> str:
            return str(client.get(f"/v1/jobs/{job}").json()["status"])

        begun = until(lambda: side_log.poll() or side_log.by_job[job], 20)[0]
        [busy] = [pod for pod in workload.pods if pod.pid == begun.feeder]
        monkeypatch.setattr(
            workload, "first_to_go", lambda pods: busy if busy in pods else pods[-1]
        )
        with Keda(cluster, COLD) as keda:
            until(lambda: workload.replicas == 1, LONG_S, "one worker too many goes")
            assert (busy in workload.pods, status()) == (False, "running")
            while True:
                pods = workload.replicas
                if status() != "running":
                    break
                assert pods == 1, "the idle one is not to be taken away while a job runs"
                time.sleep(0.2)
            until(lambda: workload.replicas == 0, 30, "back to zero")
        ended = client.get(f"/v1/jobs/{job}").json()
    assert (ended["status"], ended["attempt"], ended["crashes"]) == ("succeeded", 1, 0)
    assert ended["metrics"]["worker"] == busy.name
    side_log.poll()
    [run] = side_log.by_job[job]
    assert (run.run, run.ended is not None) == (ended["output"]["run"], True)
    left = {each.pod: each for each in workload.ended[-2:]}
    assert [each.exit_code for each in left.values()] == [0, 0]
    assert left[busy.name].took_s > values["models"]["cold"]["drainS"] + 1, "the test is void"
    assert keda.failures == []
    assert (1, 2) in keda.looks


@pytest.mark.parametrize("version", ["2", "1"], ids=["forward", "back"])
def test_a_new_version_of_a_model_is_noticed_by_nobody(cluster, receiver, version):
    """Each of the two workers goes before its successor comes, as on a pool without a spare GPU."""
    name = "headrace-worker-chaos"
    (cluster.volumes["/models"] / "chaos" / "model.toml").write_text(
        f'name = "chaos"\nversion = "{version}"\n'
    )
    workload = cluster.workloads[name]
    old = list(workload.pods)
    load = Load(lambda: cluster.client("submit-key"), receiver, "chaos", "cold")
    with loaded(load):
        cluster.roll(name)
    assert load.failures == []
    assert set(load.ended.values()) == {"succeeded"}
    until(lambda: not load.untold(), 60, "every end is told, under one id")
    assert receiver.wrong == []
    assert not set(old) & set(workload.pods)
    with cluster.client("read-key") as client:
        card = client.get("/v1/models/chaos").json()
        figures = client.get("/v1/models/chaos/scale").json()
    assert card["version"] == version
    assert {each["version"] for each in card["workers"]} == {version}
    assert figures["queued"] == figures["running"] == 0


@pytest.fixture(scope="module")
def upgraded(cluster: Cluster, values: Document) -> Document:
    """The values of another revision, which every Deployment has to be rolled to."""
    after = {**values, "config": {**values["config"], "LOG_LEVEL": "warning"}}
    before = {doc["metadata"]["name"]: doc for doc in cluster.manifests.of("Deployment")}
    cluster.upgrade(after)
    for name in DEPLOYMENTS:
        assert template_of(cluster.manifests.named("Deployment", name)) != template_of(before[name])
    return after


@pytest.mark.usefixtures("upgraded")
@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_rolling_update_is_noticed_by_nobody(cluster: Cluster, receiver: Receiver, name: str):
    workload = cluster.workloads[name]
    old, before = list(workload.pods), len(workload.ended)
    load = Load(lambda: cluster.client("submit-key"), receiver, "chaos", "cold")
    with loaded(load):
        cluster.roll(name)
    assert load.failures == []
    assert set(load.ended.values()) == {"succeeded"}
    until(lambda: not load.untold(), 60, "every end is told, under one id")
    assert receiver.wrong == []
    assert not set(old) & set(workload.pods)
    assert len(workload.pods) == len(old) == len(workload.ended) - before
    given = workload.manifest["spec"].get("strategy", {}).get("rollingUpdate", {})
    surge, unavailable = given.get("maxSurge", 1), given.get("maxUnavailable", 0)
    assert workload.most_pods <= len(old) + surge
    assert workload.fewest_ready >= len(old) - unavailable
    if name == "headrace-api":
        assert load.released >= 3

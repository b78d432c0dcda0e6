"""KEDA's part: it asks what the ScaledObject names, and scales what it names.

Between nothing and one pod it does so itself; above, the HPA that it makes does, going down only
as the behaviour in the ScaledObject lets it.
"""

from __future__ import annotations

import math
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx

from .cluster import Cluster


class Keda:
    """Looks after one Deployment while entered."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._spec = cluster.manifests.named("ScaledObject", name)["spec"]
        [trigger] = self._spec["triggers"]
        assert trigger["type"] == "metrics-api"
        self._about = trigger["metadata"]
        self._url = cluster.localised(self._about["url"])
        self._token = _token(cluster, trigger["authenticationRef"]["name"])
        self._workload = cluster.workloads[self._spec["scaleTargetRef"]["name"]]
        behaviour = self._spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self._down = ScaleDown(behaviour["scaleDown"])
        self._quiet_since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keda-{name}")
        #: (what the API wanted, how many pods there were) of each look
        self.looks: list[tuple[float, int]] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        # As an HPA does that finds pods: what is there has been wanted until now.
        self._down.bounded(self._workload.replicas, self._workload.replicas)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._workload.settle()

    def wanted(self) -> float:
        """Ask once."""
        headers = {"authorization": f"Bearer {self._token}"}
        answer = httpx.get(self._url, headers=headers, trust_env=False, timeout=10)
        value = answer.raise_for_status().json()
        for part in self._about["valueLocation"].split("."):
            value = value[part]
        return float(value)

    def _run(self) -> None:
        while not self._stop.wait(self._spec["pollingInterval"]):
            try:
                wanted = self.wanted()
            except (httpx.HTTPError, KeyError) as error:
                self.failures.append(repr(error))
                continue
            self.looks.append((wanted, self._workload.replicas))
            self._scale(wanted)

    def _scale(self, wanted: float) -> None:
        least, most = self._spec["minReplicaCount"], self._spec["maxReplicaCount"]
        if wanted > float(self._about["activationTargetValue"]):
            self._quiet_since = None
            pods = math.ceil(wanted / float(self._about["targetValue"]))
            pods = max(1, least, min(pods, most))
            self._workload.scale(self._down.bounded(self._workload.replicas, pods))
            return
        now = time.monotonic()
        self._quiet_since = self._quiet_since or now
        if now - self._quiet_since >= self._spec["cooldownPeriod"]:
            self._workload.scale(least)


class ScaleDown:
    """How fast an HPA goes down: to the most of its window, by so many pods in a period."""

    def __init__(self, behaviour: dict[str, Any]) -> None:
        self._window_s: float = behaviour["stabilizationWindowSeconds"]
        [policy] = behaviour["policies"]
        assert policy["type"] == "Pods"
        self._most, self._period_s = policy["value"], policy["periodSeconds"]
        self._wanted: list[tuple[float, int]] = []
        self._gone: list[tuple[float, int]] = []

    def bounded(self, now_there: int, wanted: int) -> int:
        """Return how many pods there are to be, of `now_there`, where `wanted` would do."""
        now = time.monotonic()
        self._wanted = [each for each in self._wanted if now - each[0] < self._window_s]
        self._wanted.append((now, wanted))
        self._gone = [each for each in self._gone if now - each[0] < self._period_s]
        enough = max(pods for _, pods in self._wanted)
        if enough >= now_there:
            # Only what has to go waits for the window: a peak in it brings nobody back.
            return max(wanted, now_there)
        left = max(0, self._most - sum(pods for _, pods in self._gone))
        to = max(enough, now_there - left)
        if to < now_there:
            self._gone.append((now, now_there - to))
        return to


def _token(cluster: Cluster, name: str) -> str:
    spec = cluster.manifests.named("TriggerAuthentication", name)["spec"]
    [target] = spec["secretTargetRef"]
    assert target["parameter"] == "token"
    return cluster.manifests.data_of("Secret", target["name"])[target["key"]]

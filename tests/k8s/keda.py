"""KEDA's part: it asks what the ScaledObject names, and scales what it names."""

from __future__ import annotations

import math
import threading
import time
from types import TracebackType
from typing import Self

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
        self._quiet_since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keda-{name}")
        #: (what the API wanted, how many pods there were) of each look
        self.looks: list[tuple[float, int]] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
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
            # To less than is there the HPA goes only after its window; that is not waited for.
            self._workload.scale(max(self._workload.replicas, 1, least, min(pods, most)))
            return
        now = time.monotonic()
        self._quiet_since = self._quiet_since or now
        if now - self._quiet_since >= self._spec["cooldownPeriod"]:
            self._workload.scale(least)


def _token(cluster: Cluster, name: str) -> str:
    spec = cluster.manifests.named("TriggerAuthentication", name)["spec"]
    [target] = spec["secretTargetRef"]
    assert target["parameter"] == "token"
    return cluster.manifests.data_of("Secret", target["name"])[target["key"]]

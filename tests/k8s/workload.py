"""What Kubernetes' controllers do with pods: keep as many as are wanted, and roll them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .manifests import Document
from .pod import Ended, Pod

#: Longer than any start here.
_START_S = 60.0


def _youngest(pods: list[Pod]) -> Pod:
    """As a ReplicaSet chooses on one node: what is not ready first, then the youngest."""
    return min(reversed(pods), key=lambda pod: pod.ready)


class Workload:
    """The pods of a Deployment, or of a StatefulSet."""

    def __init__(self, manifest: Document, make: Callable[[Document], Pod]) -> None:
        self.name: str = manifest["metadata"]["name"]
        self.manifest = manifest
        self.pods: list[Pod] = []
        self.replicas = 0
        self.ended: list[Ended] = []
        #: the fewest pods that were ready, and the most that there were, in the last rollout
        self.fewest_ready = self.most_pods = 0
        #: Which pod goes. A ReplicaSet has an order of its own, by node and by age: of what a pod
        #: does at the moment it knows nothing.
        self.first_to_go: Callable[[list[Pod]], Pod] = _youngest
        self._make = make
        self._leaving: list[Future[Ended]] = []
        self._pool = ThreadPoolExecutor(8, thread_name_prefix=self.name)

    def scale(self, replicas: int) -> None:
        """Have as many pods; what goes, goes as it is told to, and is not waited for."""
        self.replicas = replicas
        while len(self.pods) < replicas:
            self._add(self.pods)
        while len(self.pods) > replicas:
            self._delete(self.pods)

    def await_ready(self) -> None:
        """Wait until every pod is ready."""
        deadline = time.monotonic() + _START_S
        while not all(pod.ready for pod in self.pods):
            self._check(deadline)
            time.sleep(0.05)

    def roll(self, manifest: Document) -> None:
        """Replace each pod by one of the new revision, within the bounds of the strategy."""
        self.manifest = manifest
        surge, unavailable = self._bounds()
        old: list[Pod] = self.pods
        new: list[Pod] = []
        self.pods = new
        self.fewest_ready, self.most_pods = len(old), len(old)
        deadline = time.monotonic() + _START_S * (len(old) + 1)
        while old or sum(pod.ready for pod in new) < self.replicas:
            while len(new) < self.replicas and len(old) + len(new) < self.replicas + surge:
                self._add(new)
            ready = sum(pod.ready for pod in [*old, *new])
            if old and ready - 1 >= self.replicas - unavailable:
                self._delete(old)
            counted = [*old, *new]
            self.most_pods = max(self.most_pods, len(counted))
            self.fewest_ready = min(self.fewest_ready, sum(pod.ready for pod in counted))
            self._check(deadline)
            time.sleep(0.05)
        self.settle()

    def settle(self) -> None:
        """Wait until every pod that goes has gone."""
        leaving, self._leaving = self._leaving, []
        self.ended += [each.result() for each in leaving]

    def close(self) -> None:
        """End what there is, at once."""
        self._pool.shutdown()

    def _bounds(self) -> tuple[int, int]:
        strategy: dict[str, Any] = self.manifest["spec"].get("strategy", {})
        given = strategy.get("rollingUpdate", {})
        surge = self._share(given.get("maxSurge", "25%"), math.ceil)
        unavailable = self._share(given.get("maxUnavailable", "25%"), math.floor)
        return surge, unavailable

    def _share(self, bound: int | str, whole: Callable[[float], int]) -> int:
        if isinstance(bound, int):
            return bound
        return whole(self.replicas * int(bound.removesuffix("%")) / 100)

    def _add(self, pods: list[Pod]) -> None:
        pod = self._make(self.manifest)
        pods.append(pod)
        pod.start()

    def _delete(self, pods: list[Pod]) -> None:
        chosen = self.first_to_go(pods)
        pods.remove(chosen)
        self._leaving.append(self._pool.submit(chosen.delete))

    def _check(self, deadline: float) -> None:
        if troubles := [each for pod in self.pods for each in pod.troubles]:
            raise RuntimeError(f"{troubles}: {[pod.said()[-2000:] for pod in self.pods]}")
        if time.monotonic() > deadline:
            stuck = [f"{pod.name}: {pod.said()[-2000:]}" for pod in self.pods if not pod.ready]
            raise TimeoutError(f"{self.name} is not ready: {stuck}")

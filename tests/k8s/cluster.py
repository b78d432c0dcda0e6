"""A cluster of processes on loopback that runs what the chart says."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from .container import Place, localised
from .manifests import Document, Manifests, meets, template_of
from .pod import Pod
from .service import Service
from .workload import Workload

#: Waits until whoever started it is gone, by whatever death, and ends what it left in the folder.
_GUARD = """read -r _
for each in /proc/[0-9]*; do
    case "$(readlink "$each/cwd")" in "$1"/*) kill -9 "${each#/proc/}" ;; esac
done"""

Truth = Callable[[Pod], str | None]


class Cluster:
    """Runs a release. Each pod has a loopback address of its own, and the ports of the manifest."""

    def __init__(self, folder: Path, values: Document, volumes: Mapping[str, Path]) -> None:
        self.folder = folder
        self.manifests = Manifests.render(values)
        self.workloads: dict[str, Workload] = {}
        #: component -> what must hold of a pod that a probe calls ready
        self.truths: dict[str, Truth] = {}
        #: every pod that there has been
        self.pods: list[Pod] = []
        #: what stands for paths of the image
        self.volumes = volumes
        self._numbers = count(2)
        # Somebody else's cluster on this machine has another net.
        self._net = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}"
        self._services: dict[str, Service] = {}
        self._headless: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # A session of its own: what ends our group must not end the one that cleans up after it.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for doc in self.manifests.of("Service"):
            if doc["spec"].get("clusterIP") != "None":
                self._services[doc["metadata"]["name"]] = self._stack.enter_context(
                    Service(f"{self._net}.1")
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # None is to be asked, or to ask, while others are already gone.
        for pod in self.pods:
            pod.leave_alone()
        for workload in self.workloads.values():
            workload.close()
        for pod in self.pods:
            pod.kill()
        self._stack.close()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()

    def install(self) -> None:
        """Do what `helm install` does: the objects, then, in their order, the hooks after it."""
        # Redis first: there are no names here, so its address has to be known.
        for doc in [*self.manifests.of("StatefulSet"), *self.manifests.of("Deployment")]:
            workload = self.workloads[doc["metadata"]["name"]] = Workload(doc, self._make)
            workload.scale(self._first_replicas(doc))
        for workload in self.workloads.values():
            workload.await_ready()
        for hook in self.manifests.hooks("post-install"):
            code, said = self.run(hook)
            assert code == 0, said

    def upgrade(self, values: Document) -> None:
        """Take a new revision in; each Deployment is rolled when it is told to."""
        self.manifests = Manifests.render(values, self.manifests)

    def roll(self, name: str) -> Workload:
        """Roll a Deployment to the present revision."""
        workload = self.workloads[name]
        workload.roll(self.manifests.named("Deployment", name))
        return workload

    def run(self, doc: Document, seconds: float = 60.0) -> tuple[int, str]:
        """Run the pod of a Job, or a pod alone, to its end: its exit code and what it said."""
        pod = self._make(doc)
        return pod.run(seconds), pod.said()

    def localised(self, url: str) -> str:
        """Return an address of the cluster as it is here."""
        return localised(url, self._names())

    def client(self, key: str, **options: Any) -> httpx.Client:
        """A client of the API's Service, with a key of the Secret that the install has made."""
        token = self.manifests.data_of("Secret", "headrace-keys")[key]
        return httpx.Client(
            base_url=self.localised("http://headrace-api:80"),
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=httpx.Timeout(90, connect=5),
            **options,
        )

    def troubles(self) -> list[str]:
        """What a kubelet would have had to do, or saw, that must not be."""
        ended = [each for workload in self.workloads.values() for each in workload.ended]
        badly = [str(each) for each in ended if each.killed or each.exit_code != 0]
        return [*badly, *(trouble for pod in self.pods for trouble in pod.troubles)]

    def _first_replicas(self, doc: Document) -> int:
        for scaled in self.manifests.of("ScaledObject"):
            if scaled["spec"]["scaleTargetRef"]["name"] == doc["metadata"]["name"]:
                return int(scaled["spec"]["minReplicaCount"])
        return int(doc["spec"].get("replicas", 1))

    def _make(self, doc: Document) -> Pod:
        with self._lock:
            number = next(self._numbers)
        template = template_of(doc)
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        name = f"{doc['metadata']['name']}-{number}"
        address = f"{self._net}.{number}"
        if component == "redis":
            self._headless["headrace-redis:6379"] = f"{address}:6379"
        folder = self.folder / name
        folder.mkdir()
        claims = doc["spec"].get("volumeClaimTemplates", [])
        volumes = {each["metadata"]["name"]: self.folder / "claims" for each in claims}
        place = Place(
            *(name, address, folder, self.manifests),
            services=self._names(),
            volumes={**self.volumes, **volumes},
        )
        pod = Pod(template, place)
        pod.on_ready = self._route
        pod.truth = self.truths.get(component, pod.truth)
        self.pods.append(pod)
        return pod

    def _names(self) -> dict[str, str]:
        found = dict(self._headless)
        for name, service in self._services.items():
            [port] = self.manifests.named("Service", name)["spec"]["ports"]
            found[f"{name}:{port['port']}"] = service.address
        return found

    def _route(self, pod: Pod, ready: bool) -> None:
        for name, service in self._services.items():
            spec = self.manifests.named("Service", name)["spec"]
            if meets(spec["selector"], pod.labels):
                endpoint = (pod.address, pod.port(spec["ports"][0]["targetPort"]))
                (service.add if ready else service.remove)(endpoint)

"""A pod as a process on loopback: started, probed, and ended with the signals of a kubelet."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace.chaos.process import tree

from .container import Container, Place
from .manifests import Document
from .probes import probes_of

_TICK_S = 0.05


@dataclass(frozen=True)
class Ended:
    """How a pod that was deleted went."""

    pod: str
    exit_code: int
    #: from the deletion on, the preStop hook included
    took_s: float
    grace_s: float
    killed: bool


class Pod:
    """One pod of a template. A thread probes it from its start to its deletion."""

    def __init__(self, template: Document, place: Place) -> None:
        self.name = place.name
        self.address = place.address
        self.labels: dict[str, str] = dict(template["metadata"]["labels"])
        self.log = place.folder / "log"
        self.ready = False
        #: Told when it became ready, or is not any more.
        self.on_ready: Callable[[Pod, bool], None] = lambda *_: None
        #: Asked each time a probe says that it is ready: what is not so?
        self.truth: Callable[[Pod], str | None] = lambda _: None
        #: What a kubelet would have done, or seen, that must not be.
        self.troubles: list[str] = []
        self._spec: Document = template["spec"]
        [self._main] = self._spec["containers"]
        self._container = Container.make(self._spec, place)
        self._process: subprocess.Popen[bytes] | None = None
        self._deleted = threading.Event()
        self._telling = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name=f"kubelet-{self.name}")

    def port(self, name: str) -> int:
        """The number of a port of its container."""
        found = {port["name"]: port["containerPort"] for port in self._main.get("ports", [])}
        return int(found[name])

    @property
    def pid(self) -> int:
        """The first process of its container."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start its container, and probe it from now on."""
        self._launch()
        self._thread.start()

    def run(self, seconds: float) -> int:
        """Run it to its end, as a Job's pod; return its exit code."""
        self._launch()
        assert self._process is not None
        return self._process.wait(seconds)

    def said(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace")

    def _launch(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._container.command,
                env=self._container.environment,
                cwd=self._container.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self) -> None:
        assert self._process is not None
        probes = probes_of(self._main, self._container)
        startup = probes.pop("startup", None)
        if not startup and "readiness" not in probes:
            self._become(ready=True)
        while not self._deleted.wait(_TICK_S):
            if self._process.poll() is not None:
                self._has_ended(self._process.returncode)
                return
            for probe in [startup] if startup else list(probes.values()):
                verdict = probe.ask(self.address) if probe.due else None
                if verdict is None or self._deleted.is_set():
                    continue
                if probe is startup and verdict:
                    startup = None
                    if "readiness" not in probes:
                        self._become(ready=True)
                elif probe.kind == "readiness":
                    self._become(ready=verdict)
                elif not verdict:
                    self.troubles.append(f"{self.name} would have been killed by its {probe.kind}")

    def _has_ended(self, code: int) -> None:
        # What was told to end has not ended by itself, and may have been told only just now.
        if not self._deleted.is_set():
            self.troubles.append(f"{self.name} ended by itself: {code}")
        self._become(ready=False)

    def _become(self, *, ready: bool) -> None:
        if ready and (lie := self.truth(self)) and not self._deleted.is_set():
            self.troubles.append(f"{self.name} was called ready: {lie}")
        with self._telling:
            # Deleted while it was looked into: Services have been told already that it goes.
            if ready != self.ready and not (ready and self._deleted.is_set()):
                self.ready = ready
                self.on_ready(self, ready)

    def delete(self) -> Ended:
        """Take it off its Services, run its preStop hook, ask it to end, and kill what does not."""
        assert self._process is not None
        began = time.monotonic()
        grace_s = float(self._spec.get("terminationGracePeriodSeconds", 30))
        self._deleted.set()
        self._become(ready=False)
        hook = self._main.get("lifecycle", {}).get("preStop", {})
        assert not hook or set(hook) == {"sleep"}, f"this kubelet has no {hook}"
        time.sleep(min(grace_s, hook.get("sleep", {}).get("seconds", 0)))
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(max(0.0, began + grace_s - time.monotonic()))
            killed = False
        except subprocess.TimeoutExpired:
            killed = True
        took_s = time.monotonic() - began
        self.kill()
        self._thread.join()
        return Ended(self.name, self._process.returncode, round(took_s, 2), grace_s, killed)

    def leave_alone(self) -> None:
        """Probe it no more."""
        self._deleted.set()
        if self._thread.is_alive():
            self._thread.join()

    def kill(self) -> None:
        """End what is left of it at once: a container ends with its first process."""
        self._deleted.set()
        if self._process is None:
            return
        below = tree(self._process.pid)[1:] if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

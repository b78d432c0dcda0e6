"""Probes as a kubelet makes them, with the periods and thresholds of the manifest."""

from __future__ import annotations

import http.client
import subprocess
import time
from typing import Any

from .container import Container
from .manifests import Document


class Probe:
    """One probe of a container: when it is due, and what its last answers make of it."""

    def __init__(self, kind: str, about: Document, main: Document, container: Container) -> None:
        self.kind = kind
        self._about = about
        self._container = container
        self._ports = {port["name"]: port["containerPort"] for port in main.get("ports", [])}
        self._timeout_s = float(about.get("timeoutSeconds", 1))
        self._period_s = float(about.get("periodSeconds", 10))
        self._needed = {
            True: about.get("successThreshold", 1),
            False: about.get("failureThreshold", 3),
        }
        self._next_at = time.monotonic() + about.get("initialDelaySeconds", 0)
        self._last: bool | None = None
        self._in_a_row = 0

    @property
    def due(self) -> bool:
        """Whether it is time to ask."""
        return time.monotonic() >= self._next_at

    def ask(self, address: str) -> bool | None:
        """Ask once; True or False once as many answers in a row say so, None before."""
        self._next_at = time.monotonic() + self._period_s
        good = self._answer(address)
        self._in_a_row = self._in_a_row + 1 if good == self._last else 1
        self._last = good
        return good if self._in_a_row >= self._needed[good] else None

    def _answer(self, address: str) -> bool:
        if "exec" in self._about:
            return self._run(self._about["exec"]["command"])
        asked: dict[str, Any] = self._about["httpGet"]
        port = self._ports.get(asked["port"], asked["port"])
        connection = http.client.HTTPConnection(address, port, timeout=self._timeout_s)
        try:
            connection.request("GET", asked.get("path", "/"))
            status: int = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return 200 <= status < 400

    def _run(self, command: list[str]) -> bool:
        try:
            done = subprocess.run(
                command,
                env=self._container.environment,
                timeout=self._timeout_s,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def probes_of(main: Document, container: Container) -> dict[str, Probe]:
    """Return the probes of a container by their kind."""
    return {
        kind: Probe(kind, main[f"{kind}Probe"], main, container)
        for kind in ("startup", "readiness", "liveness")
        if f"{kind}Probe" in main
    }

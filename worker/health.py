"""What the worker answers to probes: can it run a job, and is it alive at all."""

from typing import Any

from telemetry.probes import Probe
from worker.probing import readiness
from worker.station import Station


def probes(station: Station) -> dict[str, Probe]:
    """The probe of each path."""

    async def healthz() -> tuple[int, dict[str, Any]]:
        now = readiness(station)
        body = {"state": now.state, "reason": now.reason, "model": station.model}
        return (200 if now.ready else 503), {**body, "worker": station.name}

    async def livez() -> tuple[int, dict[str, Any]]:
        state = "draining" if station.quiet else "alive"
        return (503 if station.quiet else 200), {"state": state}

    return {"/healthz": healthz, "/livez": livez}

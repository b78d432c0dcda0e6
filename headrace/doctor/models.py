"""The models: jobs that wait for a worker that is not there."""

from __future__ import annotations

from headrace.doctor.check import Check, Patient, ok, warning
from jobs import keys
from jobs.cards import CardStore
from jobs.connection import translated
from jobs.overview import ModelOverview, overview


async def models(patient: Patient) -> list[Check]:
    """Look at every model that has a card."""
    shards: dict[str, set[int]] = {}
    versions: dict[str, list[str]] = {}
    for entry in await CardStore(patient.connections).entries():
        shards.setdefault(entry.model, set()).update(entry.served)
        versions.setdefault(entry.model, []).append(entry.version)
    found: list[Check] = []
    for model, on in sorted(shards.items()):
        load = await overview(
            patient.connections,
            patient.options,
            model=model,
            versions=versions[model],
            shards=sorted(on),
        )
        gone = await _unserved(patient, model, versions[model], load, on)
        found += _judge(model, load) or gone
    return found or [ok("models", f"{len(shards)} known, each with jobs has a worker")]


def _judge(model: str, load: ModelOverview) -> list[Check]:
    if not load.queued or load.workers:
        return []
    return [
        warning(
            "model",
            f"{load.queued} jobs of {model} wait, for up to {load.oldest_s:.0f} s, and no worker "
            "serves it",
            f"Start one: headrace worker {model}",
        )
    ]


async def _unserved(
    patient: Patient, model: str, versions: list[str], load: ModelOverview, shards: set[int]
) -> list[Check]:
    served = {worker.version for worker in load.workers}
    found = []
    for version in sorted(set(versions) - served):
        waits = 0
        for shard in shards:
            prefix = keys.shard_prefix(patient.connections.namespace, shard)
            with translated():
                client = patient.connections.client
                waits += await client.zcard(f"{prefix}turn:{model}@{version}")
                waits += await client.zcard(f"{prefix}returned:{model}@{version}")
        if waits:
            says = f"jobs of {model}@{version} wait, and its workers serve {_listed(served)}"
            advice = "Start a worker of that version, or cancel them; they expire in the end."
            found.append(warning("model", says, advice))
    return found


def _listed(versions: set[str]) -> str:
    return ", ".join(sorted(versions)) or "nothing"

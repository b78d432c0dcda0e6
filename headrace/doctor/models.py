"""The models: jobs that wait for a worker that is not there."""

from __future__ import annotations

from headrace.doctor.check import Check, Patient, ok, warning
from jobs.cards import CardStore
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
        found += _judge(model, load) or _unserved(model, load)
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


def _unserved(model: str, load: ModelOverview) -> list[Check]:
    """Find jobs that wait for versions without a worker."""
    served = load.served
    found = []
    for version in sorted(load.versions.keys() - served):
        count = max(load.versions[version].waiting, load.versions[version].pinned)
        if count:
            serve = f"its workers serve {_listed(served)}"
            says = f"{count} jobs of {model}@{version} wait, and {serve}"
            advice = (
                "Start a worker of that version, or cancel them; they expire in the end. Those "
                "whose submit named no version follow as soon as a worker is ready."
            )
            found.append(warning("model", says, advice))
    return found


def _listed(versions: set[str]) -> str:
    return ", ".join(sorted(versions)) or "nothing"

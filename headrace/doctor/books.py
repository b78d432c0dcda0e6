"""The books: does every key have its owner, and do the counters agree with what is there."""

from __future__ import annotations

from headrace.doctor.check import Check, Patient, error, ok
from jobs.audit import audit

#: Findings told one by one; a bug that makes one makes many.
_TOLD = 20


async def books(patient: Patient) -> list[Check]:
    """Look at every key twice."""
    found = await audit(patient.connections, patient.options)
    if not found:
        return [ok("books", "every key has its owner, every counter agrees with what is there")]
    advice = "Headrace should never come to this: keep a copy of Redis' data and report it."
    told = [error("books", f"{each.key}: {each.detail} ({each.kind})") for each in found[:_TOLD]]
    more = f"; the first {_TOLD} are shown" if len(found) > _TOLD else ""
    return [error("books", f"{len(found)} findings{more}", advice), *told]

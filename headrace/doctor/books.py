"""The books: does every key have its owner, and do the counters agree with what is there."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.doctor.check import Check, Patient, error, ok, warning
from jobs.audit import Finding, audit

#: Findings told one by one; a bug that makes one makes many.
_TOLD = 20


async def books(patient: Patient) -> list[Check]:
    """Look at every key three times."""
    return judge(await audit(patient.connections, patient.options))


def judge(findings: Sequence[Finding]) -> list[Check]:
    """Say what the findings of an audit mean."""
    busy = [each for each in findings if each.kind == "busy"]
    unlisted = [each for each in findings if _unlisted(each)]
    wrong = [each for each in findings if each.kind != "busy" and not _unlisted(each)]
    found: list[Check] = []
    if wrong:
        advice = "Headrace should never come to this: keep a copy of Redis' data and report it."
        more = f"; the first {_TOLD} are shown" if len(wrong) > _TOLD else ""
        found.append(error("books", f"{len(wrong)} findings{more}", advice))
        found += [error("books", f"{f.key}: {f.detail} ({f.kind})") for f in wrong[:_TOLD]]
    if unlisted:
        says = f"{len(unlisted)} failed jobs are not in the index of dead letters"
        advice = (
            "An earlier version, which had no such index, wrote them: headrace dead ls leaves "
            "them out. It ends by itself, when they are deleted at the end of their lifetime."
        )
        found.append(warning("books", says, advice))
    if busy:
        says = f"{len(busy)} shards are busy: counters there were not judged, all else was"
        found.append(ok("books", says))
    return found or [
        ok("books", "every key has its owner, every counter agrees with what is there")
    ]


def _unlisted(finding: Finding) -> bool:
    return finding.kind == "missing" and finding.key.endswith("}:dead")

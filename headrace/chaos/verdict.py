"""The outcome of a campaign: whether the promise held, in one line or as figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.chaos.faults import Fault
from headrace.chaos.judge import Findings

#: share of the faults that has to hit running work for a campaign to prove anything
ENOUGH_HITS = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All that a campaign found out."""

    seed: int
    accepted: int
    statuses: dict[str, int]
    findings: Findings
    faults: Sequence[Fault]
    #: faults that were planned
    planned: int
    #: ends that a receiver was to be told of, and was not, or wrongly
    untold: list[str]
    #: webhooks that were received
    webhooks: int
    #: what the audit of the books found, and keys that no job explains
    orphans: list[str]
    #: what Redis's log says of those
    history: list[str]
    #: requests that were answered with what they must not be
    failed_requests: list[str]
    #: processes that ended although nobody had killed them
    surprises: list[tuple[str, int]]
    seconds: float

    @property
    def hit_share(self) -> float:
        """The share of the faults that hit running work."""
        return sum(fault.hit for fault in self.faults) / max(len(self.faults), 1)

    def wrongs(self) -> dict[str, Sequence[Any]]:
        """Each kind of thing that must not be, with what was found of it."""
        found = self.findings
        return {
            "lost": found.lost,
            "two_outcomes": found.two_outcomes,
            "wrong": found.wrong,
            "stale_writes_accepted": found.stale_writes,
            "unexplained_reruns": found.unexplained_reruns,
            "strangers": found.strangers,
            "untold": self.untold,
            "orphans": self.orphans,
            "failed_requests": self.failed_requests,
            "surprises": self.surprises,
        }

    @property
    def held(self) -> bool:
        """Whether the promise held, and was really tried."""
        tried = len(self.faults) == self.planned and self.hit_share >= ENOUGH_HITS
        return tried and self.accepted > 0 and not any(self.wrongs().values())

    def counts(self) -> dict[str, Any]:
        """The figures, without the details."""
        return {
            "accepted": self.accepted,
            "statuses": self.statuses,
            "faults": len(self.faults),
            "by_role": dict(Counter(fault.plan.role for fault in self.faults)),
            "by_kind": dict(Counter(fault.plan.kind for fault in self.faults)),
            "hit_share": round(self.hit_share, 3),
            **{name: len(found) for name, found in self.wrongs().items()},
            "runs": self.findings.runs,
            "reruns": self.findings.reruns,
            "convicted": len(self.findings.convicted),
            "webhooks": self.webhooks,
            "seconds": round(self.seconds, 1),
        }

    def details(self) -> dict[str, Any]:
        """Everything, also what each wrong thing is."""
        return {
            "seed": self.seed,
            "held": self.held,
            **self.counts(),
            "found": {name: list(found) for name, found in self.wrongs().items() if found},
            "convictions": self.findings.convicted,
            "history": self.history,
            "misses": [asdict(fault.plan) for fault in self.faults if not fault.hit],
        }

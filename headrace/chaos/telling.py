"""Whether receivers were told of the end of each job that asked for it, once and truly."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from headrace.chaos.aftermath import still_telling
from headrace.chaos.ledger import Ledger
from headrace.chaos.receiver import Receiver

#: seconds that a retry may take beside its delay: RQ looks once a second, and what it lost is found
#: after a minute
LATE_S = 90.0


def owed(ledger: Ledger) -> set[str]:
    """Return the accepted jobs whose end is to be told."""
    return {job for job, about in ledger.accepted.items() if about.get("tells")}


def wait_until_told(ledger: Ledger, receiver: Receiver, redis_url: str) -> None:
    """Wait until each end was told and Redis knows it, or it takes too long.

    A receiver may have been told by a sender that was killed before it could note the answer: the
    delivery stays pending until its lease is over, and is then made once more.
    """
    end = time.monotonic() + LATE_S
    while owed(ledger) - receiver.told and time.monotonic() < end:
        time.sleep(0.1)
    end = time.monotonic() + LATE_S
    while still_telling(redis_url) and time.monotonic() < end:
        time.sleep(0.5)


def untold(ledger: Ledger, receiver: Receiver) -> list[str]:
    """Return what is wrong: an end not told, told as another one, or under two ids."""
    wrong = list(receiver.wrong)
    heard: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for identifier, (type_, subject, _) in receiver.events.items():
        heard[subject].append((identifier, type_))
    outcomes: Mapping[str, Mapping[str, object]] = ledger.outcomes
    for job in sorted(owed(ledger)):
        events = heard[job]
        if len(events) != 1:
            wrong.append(f"{job} was told under {len(events)} ids: {events}")
        elif job in outcomes and events[0][1] != f"job.{outcomes[job]['status']}":
            wrong.append(f"{job} ended {outcomes[job]['status']}, and {events[0][1]} was told")
    return wrong

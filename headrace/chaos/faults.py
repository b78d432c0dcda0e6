"""Which faults a campaign has, in which order, and what each of them hit."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Menu = Mapping[str, tuple[int, Mapping[str, int]]]

#: role -> (how often, the faults it may meet and how often each)
ALL: Menu = {
    "engine": (34, {"kill": 8, "freeze": 2, "long freeze": 1}),
    "feeder": (30, {"kill": 6, "freeze": 2, "long freeze": 3}),
    "api": (18, {"kill": 6, "freeze": 2, "long freeze": 1}),
    "redis": (14, {"kill": 7, "restart": 2, "freeze": 3, "long freeze": 1}),
    "sender": (14, {"kill": 6, "freeze": 2, "long freeze": 1}),
}
REDIS_KILLS: Menu = {"redis": (1, {"kill": 1})}
#: how long a frozen process is asleep, in beat limits
FREEZES = {"freeze": (0.05, 0.7), "long freeze": (1.2, 1.7)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One fault of the schedule, which the seed alone decides."""

    number: int
    role: str
    #: which of its role is hit
    which: int
    kind: str
    #: seconds asleep, 0 for a kill
    asleep_s: float


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault that happened; times are monotonic. `until` is when the victim was whole again."""

    plan: Plan
    victim: str
    pid: int
    at: float
    until: float
    #: it was in the middle of something: a run, a request, a command
    hit: bool

    def line(self) -> dict[str, Any]:
        """What the log of faults says of it."""
        told = asdict(self)
        return {**told.pop("plan"), **told}


def schedule(
    seed: int, faults: int, menu: Menu, roles: Mapping[str, int], beat_limit_s: float
) -> Sequence[Plan]:
    """Return the same faults for the same seed; `roles` says how many there are of each."""
    dice = random.Random(f"faults-{seed}")
    names = [role for role in menu if roles.get(role)]
    weights = [menu[role][0] for role in names]
    plans = []
    for number in range(faults):
        role = dice.choices(names, weights)[0]
        kinds = menu[role][1]
        kind = dice.choices(list(kinds), list(kinds.values()))[0]
        least, most = FREEZES.get(kind, (0.0, 0.0))
        asleep_s = round(dice.uniform(least, most) * beat_limit_s, 3)
        which = dice.randrange(roles[role])
        plans.append(Plan(number=number, role=role, which=which, kind=kind, asleep_s=asleep_s))
    return plans

"""The workers as Redis knows them: who went silent, who is not ready and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from headrace.doctor.check import Check, Patient, error, ok, warning
from headrace.doctor.server import CLOCKS_APART_S, redis_time_s, skew
from jobs import keys
from jobs.connection import translated
from jobs.shards import SHARDS

#: Limits of silence after which a burial should long have been: nobody is there to do it.
_UNBURIED = 3


@dataclass(slots=True)
class Life:
    """One life of a worker, over all its shards."""

    id: str
    #: Seconds since its last beat; None where it is being buried.
    silent_s: float | None = 0.0
    held: int = 0
    record: dict[str, str] = field(default_factory=dict)
    #: Seconds by which its clock is ahead of Redis', where it tells.
    ahead_s: float = 0.0


async def workers(patient: Patient) -> list[Check]:
    """Look at every worker whose end nobody has seen yet."""
    limit_s = patient.options.beat_limit_s
    lives = await _lives(patient)
    found = [check for life in lives for check in judge(life, limit_s)]
    alive = sum(life.silent_s is not None and life.silent_s <= limit_s for life in lives)
    return [ok("workers", f"{alive} alive"), *found] if alive or not found else found


def judge(life: Life, limit_s: float) -> list[Check]:
    """Say what is wrong with one worker."""
    name = life.id.rpartition(":")[0]
    if life.silent_s is None or life.silent_s > limit_s:
        return [_silent(name, life, limit_s)]
    found = []
    state, reason = life.record.get("state"), life.record.get("reason")
    if state == "loading":
        found.append(warning("worker", f"{name} is loading its model"))
    elif state == "draining":
        # Each worker of a rolling restart passes through this.
        found.append(ok("worker", f"{name} is draining: it ends what it has begun, and leaves"))
    elif state not in (None, "ready"):
        says = f"{name} is {state}: {reason or 'it gives no reason'}"
        found.append(error("worker", says, "Its log tells more."))
    if abs(life.ahead_s) > CLOCKS_APART_S:
        found.append(skew(f"{name} and Redis", life.ahead_s))
    return found


def _silent(name: str, life: Life, limit_s: float) -> Check:
    holds = f"it holds {life.held} jobs" if life.held else "it holds nothing"
    if life.silent_s is None:
        return warning("worker", f"{name} is gone and is being buried; {holds}")
    says = f"{name} has been silent for {life.silent_s:.0f} s; {holds}"
    if life.silent_s <= limit_s * _UNBURIED:
        return warning("worker", says, f"After {limit_s:g} s of silence others take its jobs.")
    return error(
        "worker",
        f"{says}, and nobody has buried it",
        "Start an API, or a worker of its model: either gives its jobs back to the line.",
    )


async def _lives(patient: Patient) -> list[Life]:
    client = patient.connections.client
    lives: dict[str, Life] = {}
    with translated():
        for shard in range(SHARDS):
            prefix = keys.shard_prefix(patient.connections.namespace, shard)
            beats = await client.zrange(f"{prefix}beats", 0, -1, withscores=True)
            if not beats:
                continue
            now = await redis_time_s(patient, shard)
            for raw, beat_at in cast(Iterable[tuple[bytes, float]], beats):
                life = lives.setdefault(raw.decode(), Life(raw.decode()))
                record = await client.hgetall(f"{prefix}worker:{life.id}")
                _add(life, cast(dict[bytes, bytes], record), beat_at / 1000, now)
                life.held += await client.hlen(f"{prefix}held:{life.id}")
    return list(lives.values())


def _add(life: Life, record: Mapping[bytes, bytes], beat_s: float, now_s: float) -> None:
    life.record |= {name.decode(): value.decode() for name, value in record.items()}
    if not beat_s:
        life.silent_s = None
    elif life.silent_s is not None:
        life.silent_s = max(life.silent_s, now_s - beat_s)
    if "clock" in life.record:
        life.ahead_s = float(life.record["clock"]) - beat_s

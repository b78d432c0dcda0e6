"""The audit: do the books agree with what is there, and does every key have its owner."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from jobs.audit_lines import LINE_RULES, has_ended
from jobs.audit_webhooks import WEBHOOK_RULES, Row
from jobs.connection import RedisConnections
from jobs.policy import QueueOptions
from jobs.snapshot import Snapshot, prefix, read_snapshot, shard_keys
from jobs.states import Status

#: What the status of a job counts as.
_GROUPS = {Status.QUEUED: "queued", Status.RUNNING: "running", Status.CANCELING: "running"}
_DEAD = {Status.FAILED, Status.TIMED_OUT}
#: Looks, and seconds between two: what is torn by a change in one is whole in another.
_LOOKS = 3
_LOOK_AGAIN_S = 0.75
#: Keys that many jobs share: work that goes on tears them again in each look, by the same name.
_SHARED = ("counts:", "batch:", "turn:", "outbox", "lines", "calls:", "retry", "undelivered")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be: `kind` is orphan, place, counter, missing, stale or unknown.

    `busy` is no fault: jobs moved all the time, so the shared books of that shard were not judged.
    """

    kind: str
    key: str
    detail: str


async def audit(
    connections: RedisConnections,
    options: QueueOptions,
    shards: Iterable[int] | None = None,
    *,
    look_again_s: float = _LOOK_AGAIN_S,
) -> list[Finding]:
    """Look at every key of these shards (None: all) three times; return what is wrong every time.

    Reads every record: minutes for millions of jobs, and about 1 KB of memory for each. Raises
    QueueUnavailable.
    """
    found, standing = await _look(connections, options, shards)
    looks, standings = [found], [standing]
    while looks[-1] and len(looks) < _LOOKS:
        await asyncio.sleep(look_again_s)
        found, standing = await _look(connections, options, shards)
        looks.append(found)
        standings.append(standing)
    wrong = set.intersection(*looks)
    torn = set.intersection(*({each.key for each in look if _shared(each)} for look in looks))
    moved = {shard for a, b in pairwise(standings) for shard, _ in a.items() ^ b.items()}
    sure = {each for each in wrong if not _shared(each) or _shard(each.key) not in moved}
    busy = moved & {_shard(key) for key in torn}
    sure |= {Finding("busy", shard, "jobs moved while it was read") for shard in busy}
    return sorted(sure, key=lambda each: each.key)


def _shard(key: str) -> str:
    return key.partition("}:")[0] + "}:"


def _shared(finding: Finding) -> bool:
    return finding.key.partition("}:")[2].startswith(_SHARED)


async def _look(
    connections: RedisConnections, options: QueueOptions, shards: Iterable[int] | None
) -> tuple[set[Finding], dict[str, int]]:
    """Return what is wrong, and how each shard stands, by its prefix."""
    wanted = None if shards is None else set(shards)
    found: set[Finding] = set()
    standing = {}
    for shard, names in (await shard_keys(connections)).items():
        if wanted is None or shard in wanted:
            snapshot = await read_snapshot(connections, options, shard, names)
            start = prefix(connections, shard)
            standing[start] = snapshot.standing()
            found |= {
                Finding(each.kind, start + each.key, each.detail) for each in findings(snapshot)
            }
    return found, standing


def findings(snapshot: Snapshot) -> list[Finding]:
    """Return all that is wrong in one shard that nothing changed while it was read."""
    return [Finding(*row) for rule in _RULES for row in rule(snapshot)]


def _known(snapshot: Snapshot) -> Iterator[Row]:
    for name in snapshot.unknown:
        yield "unknown", name, "no such key is Headrace's"
    for identifier, job in snapshot.jobs.items():
        if job.get("status") not in set(Status):
            yield "place", f"job:{identifier}", f"its status is {job.get('status')!r}"


def _belongings(snapshot: Snapshot) -> Iterator[Row]:
    for kind, lifetimes in snapshot.belongings.items():
        for identifier, ttl in lifetimes.items():
            job = snapshot.jobs.get(identifier)
            key = f"{kind}:{identifier}"
            if job is None:
                yield "orphan", key, "its job is gone"
            elif has_ended(job) and ttl < 0:
                yield "stale", key, "the job has ended, and this would be kept for ever"
            elif not has_ended(job) and ttl >= 0:
                yield "stale", key, "the job has not ended, and this would end before it"
    for identifier, job in snapshot.jobs.items():
        has = {kind for kind, ids in snapshot.belongings.items() if identifier in ids}
        if job.get("status") != Status.SUCCEEDED and "input" not in has:
            yield "missing", f"input:{identifier}", f"the job is {job.get('status')}"
        if job.get("status") == Status.SUCCEEDED and "input" in has:
            yield "orphan", f"input:{identifier}", "the job has succeeded"
        if has_ended(job) != ("output" in has):
            yield "missing", f"output:{identifier}", f"the job is {job.get('status')}"


def _hands(snapshot: Snapshot) -> Iterator[Row]:
    beats = snapshot.zset("beats")
    for life, held in snapshot.named("held", snapshot.hashes):
        if life not in beats:
            yield "orphan", f"held:{life}", f"{len(held)} jobs of a worker that nobody will bury"
        for identifier, token in held.items():
            job = snapshot.jobs.get(identifier, {})
            if job.get("worker") != life or job.get("token") != token or has_ended(job):
                yield "orphan", f"held:{life}", f"{identifier} is not this worker's"
    for life, _ in snapshot.named("worker", snapshot.hashes):
        if life not in beats:
            yield "orphan", f"worker:{life}", "it has no beat"
    for life, score in beats.items():
        # A score of 0 is a burial under way.
        if score and f"worker:{life}" not in snapshot.hashes:
            yield "missing", f"worker:{life}", "it has a beat and no record"


def _times(snapshot: Snapshot) -> Iterator[Row]:
    due = snapshot.zset("due")
    for identifier in due:
        if identifier not in snapshot.jobs:
            yield "orphan", "due", f"{identifier} is gone"
    for identifier, job in snapshot.jobs.items():
        status = job.get("status")
        if (has_ended(job) or status == Status.QUEUED) and identifier not in due:
            yield "missing", "due", f"{identifier} is {status} and would be kept for ever"
        index = f"index:{job.get('tenant')}:{job.get('model')}"
        if identifier not in snapshot.zset(index):
            yield "missing", index, f"{identifier} cannot be listed"
    for index, ids in snapshot.named("index", snapshot.zsets):
        for identifier in ids:
            if identifier not in snapshot.jobs:
                yield "orphan", f"index:{index}", f"{identifier} is gone"


def _dead(snapshot: Snapshot) -> Iterator[Row]:
    dead = snapshot.zset("dead")
    failed = {i for i, job in snapshot.jobs.items() if job.get("status") in _DEAD}
    for identifier in failed - dead.keys():
        yield "missing", "dead", f"{identifier} failed and administrators do not see it"
    for identifier in dead.keys() - failed:
        yield "orphan", "dead", f"{identifier} is gone or did not fail"


def _counters(snapshot: Snapshot) -> Iterator[Row]:
    there: Counter[tuple[str, str]] = Counter()
    for job in snapshot.jobs.values():
        group = _GROUPS.get(Status(job["status"])) if job.get("status") in set(Status) else None
        if group:
            there[job.get("model", ""), group] += 1
    models = {model for model, _ in there} | {
        m for m, _ in snapshot.named("counts", snapshot.hashes)
    }
    for model in models:
        for group in ("queued", "running"):
            counted = int(snapshot.hash(f"counts:{model}").get(group, 0))
            if counted != there[model, group]:
                detail = f"{group} counts {counted}, there are {there[model, group]}"
                yield "counter", f"counts:{model}", detail


def _batches(snapshot: Snapshot) -> Iterator[Row]:
    for name in snapshot.zsets:
        if name.startswith("batch:") and name.removesuffix(":jobs") not in snapshot.hashes:
            yield "orphan", name, "its batch is gone"
    for identifier, batch in snapshot.named("batch", snapshot.hashes):
        members = snapshot.zset(f"batch:{identifier}:jobs")
        jobs = [snapshot.jobs[each] for each in members if each in snapshot.jobs]
        if len(jobs) < len(members) or not members:
            yield "orphan", f"batch:{identifier}", "it names jobs that are gone"
        open_ = sum(not has_ended(job) for job in jobs)
        if int(batch.get("open", 0)) != open_:
            yield "counter", f"batch:{identifier}", f"open counts {batch.get('open')}, not {open_}"
        there = Counter(job["status"] for job in jobs)
        # A job that was erased stays counted: the batch tells how it went.
        whole = len(jobs) == int(batch.get("total", 0))
        for status in Status:
            counted = int(batch.get(status, 0))
            if counted < there[status] or (whole and counted != there[status]):
                detail = f"{status} counts {counted}, there are {there[status]}"
                yield "counter", f"batch:{identifier}", detail


def _keys(snapshot: Snapshot) -> Iterator[Row]:
    for digest, identifier in snapshot.idem.items():
        owner = snapshot.jobs.get(identifier) or snapshot.hash(f"batch:{identifier}")
        if owner.get("idem") != digest:
            yield "orphan", f"idem:{digest}", f"{identifier} is gone or has another key"
    for identifier, job in snapshot.jobs.items():
        own = job.get("idem")
        if own and snapshot.idem.get(own) != identifier:
            yield "missing", f"idem:{own}", f"{identifier} could be submitted twice"


_RULES: tuple[Callable[[Snapshot], Iterator[Row]], ...] = (
    _known,
    _belongings,
    *LINE_RULES,
    _hands,
    _times,
    _dead,
    _counters,
    _batches,
    _keys,
    *WEBHOOK_RULES,
)

"""What must be true of where the jobs of one shard wait or run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jobs.audit_webhooks import Row
from jobs.snapshot import Snapshot
from jobs.states import FINAL, Status


def _places(snapshot: Snapshot) -> Iterator[Row]:
    for identifier, job in snapshot.jobs.items():
        found = _places_of(snapshot, identifier, job)
        status = job.get("status")
        if has_ended(job):
            right = not found
        elif status == Status.QUEUED:
            right = len(found) == 1
        else:
            right = found == ["held"]
        if not right:
            yield "place", f"job:{identifier}", f"it is {status} and in {found or 'no place'}"


def _places_of(snapshot: Snapshot, identifier: str, job: dict[str, str]) -> list[str]:
    found = []
    if _line(snapshot, job).get(job.get("entry", "")) == identifier:
        found.append("lane")
    if identifier in snapshot.zset(f"returned:{_target(job)}"):
        found.append("returned")
    if identifier in snapshot.hash(f"held:{job.get('worker')}"):
        found.append("held")
    if job.get("not_before"):
        found.append("backoff")
    return found


def _target(job: dict[str, str]) -> str:
    return f"{job.get('model')}@{job.get('version')}"


def _lane(job: dict[str, str]) -> str:
    return f"{_target(job)}:{job.get('priority')}:{job.get('tenant')}"


def _line(snapshot: Snapshot, job: dict[str, str]) -> dict[str, str]:
    lines = snapshot.pins if job.get("pinned") else snapshot.lanes
    return lines.get(_lane(job), {})


def has_ended(job: dict[str, str]) -> bool:
    """Whether a record is that of a job which has ended."""
    return job.get("status") in FINAL


def _lines(snapshot: Snapshot) -> Iterator[Row]:
    for kind, lines in (("lane", snapshot.lanes), ("pins", snapshot.pins)):
        for lane, entries in lines.items():
            for entry, identifier in entries.items():
                job = snapshot.jobs.get(identifier, {})
                pinned = bool(job.get("pinned")) == (kind == "pins")
                if job.get("entry") != entry or _lane(job) != lane or not pinned:
                    yield "orphan", f"{kind}:{lane}", f"{identifier} does not wait there"
            target, _, rest = lane.partition(":")
            if rest not in snapshot.zset(f"turn:{target}"):
                yield "missing", f"turn:{target}", f"{rest} has jobs and no turn"
    for target, names in snapshot.named("turn", snapshot.zsets):
        for name in names:
            if f"{target}:{name}" not in snapshot.lanes.keys() | snapshot.pins.keys():
                yield "orphan", f"turn:{target}", f"{name} has no jobs"


def _pinned(snapshot: Snapshot) -> Iterator[Row]:
    there = {(t, i) for t, ids in snapshot.named("pinned", snapshot.zsets) for i in ids}
    open_ = {
        (_target(job), identifier)
        for identifier, job in snapshot.jobs.items()
        if job.get("pinned") and not has_ended(job)
    }
    for target, identifier in there - open_:
        yield "orphan", f"pinned:{target}", f"{identifier} is not an open job pinned to it"
    for target, identifier in open_ - there:
        yield "missing", f"pinned:{target}", f"{identifier} is pinned to it"


def _returned(snapshot: Snapshot) -> Iterator[Row]:
    for target, ids in snapshot.named("returned", snapshot.zsets):
        for identifier in ids:
            job = snapshot.jobs.get(identifier, {})
            if job.get("entry") != "returned" or _target(job) != target:
                yield "orphan", f"returned:{target}", f"{identifier} does not wait there"


LINE_RULES: tuple[Callable[[Snapshot], Iterator[Row]], ...] = (_places, _lines, _pinned, _returned)

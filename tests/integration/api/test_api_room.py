"""Submits are let in while there is room for them and their results, also between two readings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from api.reserve import OWED, UNKNOWN_RESULT
from jobs.connection import RedisConnections
from jobs.errors import QueueUnavailable
from jobs.room import Disk, Room, RoomReader

URL = "/v1/models/echo/jobs"
MIB = 1 << 20

Show = Callable[..., list[Room]]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Returns what `show(memory=…)` says is read from now on, and every reading appends to it."""

    def show(**members: Any) -> list[Room]:
        empty = {"memory": 0, "memory_limit": None, "live": 0, "log": 0}
        room = Room(**{**empty, "rewriting": False, "disk": None, "write_failed": False, **members})
        readings: list[Room] = []

        async def read(self: RoomReader) -> list[Room]:
            readings.append(room)
            return [room]

        monkeypatch.setattr(RoomReader, "read", read)
        return readings

    return show


async def submit(api: Any, size: int = 1, key: str | None = None) -> Any:
    headers = {} if key is None else {"idempotency-key": key}
    return await api.client.post(URL, json={"input": {"text": "a" * size}}, headers=headers)


@pytest.mark.parametrize(
    ("room", "says"),
    [
        ({"memory": 71, "memory_limit": 100}, "71 %"),
        ({"disk": Disk(size=100, free=14)}, "86 %"),
        ({"memory": 60 * MIB, "memory_limit": 100 * MIB, "write_failed": True}, "write its log"),
    ],
)
async def test_without_room_submits_are_refused_and_come_in_again_with_it(
    api: Any, show: Show, room: dict[str, Any], says: str
) -> None:
    before = (await submit(api, key="k")).json()
    show(**room)
    await api.app.front.admission.refresh()
    answer = await submit(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    assert says in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    health = await api.client.get("/healthz")
    assert (health.status_code, health.json()["code"]) == (503, "queue_full")
    assert says in health.json()["detail"]
    # A repeat takes no room.
    assert (await submit(api, key="k")).json()["id"] == before["id"]
    show(memory=1, memory_limit=10**9, disk=Disk(size=10**9, free=10**9))
    await api.app.front.admission.refresh()
    assert (await submit(api)).status_code == 202
    assert (await api.client.get("/healthz")).status_code == 200


async def test_what_rushes_in_between_two_readings_is_counted_here(
    api: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Readings that do not move, and nothing has arrived: as if all came within one second.
    monkeypatch.setattr("api.admission._ON_ITS_WAY_S", 60.0)
    readings = show(memory=60 * MIB, memory_limit=100 * MIB)
    await api.app.front.admission.refresh()
    answers = [await submit(api, 512 * 1024) for _ in range(30)]
    codes = [answer.status_code for answer in answers]
    # 10 MiB are left, so 19 or 20 of half a MiB go in, and those after them do not.
    assert codes.count(202) in (19, 20)
    assert codes == sorted(codes)
    # It did look again by itself, since there was reason to.
    assert len(readings) > 5


async def test_small_jobs_with_large_results_make_it_look_again(
    api: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They take a kilobyte each and are owed 64: other processes must hear of that early enough.
    monkeypatch.setattr("api.admission._ON_ITS_WAY_S", 60.0)
    readings = show(memory=13 * MIB, memory_limit=20 * MIB)
    await api.app.front.admission.refresh()
    codes = [(await submit(api)).status_code for _ in range(40)]
    assert set(codes) == {202}
    assert len(readings) > 5


async def test_a_batch_counts_as_all_its_jobs(
    api: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.admission._ON_ITS_WAY_S", 60.0)
    show(memory=69 * MIB, memory_limit=100 * MIB)
    await api.app.front.admission.refresh()
    body = {"inputs": [{"text": "a" * 1000}] * 800}
    first, second = [await api.client.post(URL + "/batch", json=body) for _ in range(2)]
    assert first.status_code in (202, 503)
    assert second.status_code == 503
    assert (await submit(api)).status_code in (202, 503)


async def test_results_to_come_are_part_of_what_a_submit_takes(
    api: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is in the queue is not counted a second time as being on its way.
    monkeypatch.setattr("api.admission._ON_ITS_WAY_S", 0.0)
    show(memory=50 * MIB, memory_limit=100 * MIB)
    fit = 45 * MIB // (UNKNOWN_RESULT + OWED)
    accepted = 0
    while True:
        await api.app.front.admission.refresh()
        answer = await api.client.post(URL + "/batch", json={"inputs": [{"text": "a"}] * 50})
        if answer.status_code != 202:
            break
        accepted += 50
    assert fit - 60 < accepted <= fit
    assert "expected to need" in answer.json()["detail"]


async def test_a_redis_that_is_away_is_not_called_full(
    api: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(memory=60 * MIB, memory_limit=100 * MIB)
    await api.app.front.admission.refresh()

    async def away(self: RoomReader) -> list[Room]:
        await asyncio.sleep(0)
        raise QueueUnavailable("Redis is away.")

    monkeypatch.setattr(RoomReader, "read", away)
    codes = {(await submit(api, 512 * 1024)).status_code for _ in range(5)}
    assert codes == {202}


async def test_while_a_reading_hangs_no_submit_passes_by_the_one_before(
    api: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis went away for want of room, and is slow to come back."""
    show(memory=60 * MIB, memory_limit=100 * MIB)
    await api.app.front.admission.refresh()
    full = Room(
        memory=71,
        memory_limit=100,
        live=0,
        log=0,
        rewriting=False,
        disk=None,
        write_failed=False,
    )
    answered = asyncio.Event()

    async def away(self: RoomReader) -> list[Room]:
        raise QueueUnavailable("Redis is away.")

    async def slow(self: RoomReader) -> list[Room]:
        await answered.wait()
        return [full]

    monkeypatch.setattr(RoomReader, "read", away)
    with pytest.raises(QueueUnavailable):
        await api.app.front.admission.refresh()
    monkeypatch.setattr(RoomReader, "read", slow)
    reading = asyncio.create_task(api.app.front.admission.refresh())
    await asyncio.sleep(0.05)
    submitting = asyncio.create_task(submit(api))
    await asyncio.sleep(0.1)
    assert not submitting.done()
    answered.set()
    await reading
    assert (await submitting).json()["code"] == "queue_full"


async def test_what_brought_no_new_job_fills_no_books(
    api: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is counted here stays counted.
    monkeypatch.setattr("api.admission._ON_ITS_WAY_S", 60.0)
    show(memory=60 * MIB, memory_limit=100 * MIB)
    await api.app.front.admission.refresh()
    first = await submit(api, 512 * 1024, key="k")
    batch = {"inputs": [{"text": "a" * 256 * 1024}] * 2}
    keyed = {"headers": {"idempotency-key": "b"}}
    await api.client.post(URL + "/batch", json=batch, **keyed)
    for _ in range(30):
        again = await submit(api, 512 * 1024, key="k")
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        conflict = await submit(api, 512 * 1024 + 1, key="k")
        assert conflict.json()["code"] == "idempotency_conflict"
        assert (await api.client.post(URL + "/batch", json=batch, **keyed)).status_code == 202

    async def away(*_: Any, **__: Any) -> Any:
        raise QueueUnavailable("Redis is away.")

    with monkeypatch.context() as patch:
        patch.setattr(RedisConnections, "run", away)
        for path, body in ((URL, {"input": batch["inputs"][0]}), (URL + "/batch", batch)):
            codes = {(await api.client.post(path, json=body)).json()["code"] for _ in range(30)}
            assert codes == {"queue_unavailable"}
    assert (await submit(api, 512 * 1024)).status_code == 202


async def test_what_the_depth_refuses_fills_no_books(opening: Any, show: Show) -> None:
    async with opening(max_queue_depth=1) as api:
        await api.publish()
        await api.submit()
        show(memory=60 * MIB, memory_limit=100 * MIB)
        await api.app.front.admission.refresh()
        for _ in range(30):
            assert "jobs wait" in (await submit(api, 512 * 1024)).json()["detail"]

"""`headrace doctor` on webhooks: what nobody tells, what nobody makes due, what is disabled."""

from __future__ import annotations

import pytest

from headrace.doctor.check import Check, Level, Patient
from headrace.doctor.webhooks import webhooks
from jobs.webhook import Verdict

from .queue_rig import Rig
from .sender_rig import ENDPOINT, Sender, ended, soon

OUTBOX = "hr:{s017}:outbox"


@pytest.fixture
def sender(rig: Rig) -> Sender:
    return Sender(rig)


async def found(rig: Rig) -> list[Check]:
    return await webhooks(Patient(rig.connections, rig.options, "always"))


async def age(rig: Rig, seconds: float) -> None:
    """Write the outbox anew, as it would be had its events come so much earlier."""
    client = rig.connections.client
    events = await client.xrange(OUTBOX)
    await client.delete(OUTBOX)
    for entry, event in events:
        at = int(entry.partition(b"-")[0]) - int(seconds * 1000)
        await client.xadd(OUTBOX, event, id=f"{at}-0")


async def test_what_waits_for_its_sender_is_only_counted(rig: Rig, sender: Sender) -> None:
    await ended(rig)
    await age(rig, 50)
    assert [(one.level, one.says) for one in await found(rig)] == [
        (Level.OK, "1 events and deliveries wait, none for too long")
    ]


async def test_events_that_nobody_tells_are_an_error(rig: Rig, sender: Sender) -> None:
    await ended(rig)
    await age(rig, 65)
    [fault] = await found(rig)
    assert fault.level is Level.ERROR
    assert fault.says.startswith("nobody tells receivers: 1 events wait, for 6")
    assert "headrace webhooks run" in fault.advice
    await sender.post()
    assert [one.level for one in await found(rig)] == [Level.OK]


@pytest.mark.parametrize(("late_s", "level"), [(110, Level.OK), (130, Level.WARNING)])
async def test_retries_that_nobody_makes_due_are_a_warning(
    rig: Rig, sender: Sender, late_s: float, level: Level
) -> None:
    await ended(rig)
    [delivery] = await sender.post()
    await sender.settle(delivery, Verdict.RETRY, soon(-late_s))
    [fault] = await found(rig)
    assert fault.level is level
    if level is Level.WARNING:
        assert (fault.name, fault.says[:39]) == (
            "retries",
            "1 retries are late by over 2 min: neith",
        )
    await sender.outbox.release(17)
    assert [one.level for one in await found(rig)] == [Level.OK]


async def test_deliveries_that_nobody_takes_are_a_warning(rig: Rig, sender: Sender) -> None:
    await ended(rig)
    [delivery] = await sender.post()
    await sender.settle(delivery, Verdict.RETRY, soon(-2000))
    await sender.outbox.release(17)
    [fault] = await found(rig)
    assert (fault.level, fault.name) == (Level.WARNING, "webhooks")
    assert fault.says == "1 receivers have a delivery that has been due for 30 min"
    await sender.lease()
    assert [one.level for one in await found(rig)] == [Level.OK]


async def test_disabled_endpoints_are_counted_once(rig: Rig, sender: Sender) -> None:
    await ended(rig)
    await ended(rig)
    one, other = await sender.post()
    await sender.settle(one, Verdict.GONE, at=1)
    await sender.settle(other, Verdict.GONE, at=2)
    [fault] = await found(rig)
    assert (fault.level, fault.name) == (Level.WARNING, "endpoints")
    assert fault.says == "1 endpoints are disabled: nothing is sent them"
    assert "headrace webhooks endpoints ls" in fault.advice
    await sender.log.enable(ENDPOINT)
    assert [one.level for one in await found(rig)] == [Level.OK]


async def test_the_doctor_says_it(
    rig: Rig, sender: Sender, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.doctor.check import DoctorSettings
    from headrace.doctor.examination import examine

    monkeypatch.setenv("HEADRACE_REDIS_URL", redis_url)
    await ended(rig)
    await age(rig, 65)
    faults = await examine(DoctorSettings.read(), url=None, quick=False)
    wrong = [one for one in faults if one.level is not Level.OK]
    assert [one.name for one in wrong] == ["webhooks"]

"""Which events are told, from here or from anywhere."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace as changed

from jobs.job import Job
from jobs.states import Priority, Status
from jobs.webhook import EVENTS, Untold, Webhook
from webhooks.breaker import Breaker
from webhooks.drafts import draft
from webhooks.endpoints import endpoint_of
from webhooks.hand import EACH, Hand

URL = "https://a.example/hook"
JOB = Job(
    id="job_0000000000000000000000000000a",
    model="echo",
    version="1",
    tenant="acme",
    status=Status.SUCCEEDED,
    priority=Priority.NORMAL,
    created_at=1,
    timeout_s=1.0,
    output=b"2",
)


def event(number=1, type_="job.succeeded", *, events=EVENTS, **more):
    webhook = more.pop("webhook", Webhook(url=URL, events=events))
    values = {"job": JOB, "at": 5, "seq": 1, "tenant": "acme", "owner": JOB.id, **more}
    return Untold(entry=f"{number}-0", type=type_, webhook=webhook, **values)


def drafted(*events, breaker=None):
    breaker = breaker or Breaker()
    return draft(7, events, Hand(breaker), breaker)


def test_an_event_becomes_a_delivery_with_its_body():
    [new] = drafted(event()).at_once
    assert new.id.startswith("wh_007")
    assert (new.entry, new.owner, new.tenant, new.url) == ("1-0", JOB.id, "acme", URL)
    assert new.endpoint == endpoint_of("acme", URL)
    told = json.loads(new.body)
    assert (told["type"], told["data"]["id"], told["data"]["seq"]) == ("job.succeeded", JOB.id, 1)


@pytest.mark.parametrize(
    "told",
    [
        event(webhook=None),
        event(job=None),
        event(events=("job.failed",)),
        event(type_="job.started"),
        event(type_="job.progress"),
    ],
    ids=["no webhook", "no owner", "not asked for", "started, but over", "progress, but over"],
)
def test_what_nobody_need_be_told_is_forgotten(told):
    drafts = drafted(told)
    assert (drafts.at_once, drafts.later, drafts.forgotten) == ([], [], [told])


def test_progress_of_a_job_that_runs_is_told_unless_its_receiver_fails():
    told = event(type_="job.progress", job=changed(JOB, status=Status.RUNNING))
    assert len(drafted(told).at_once) == 1
    breaker = Breaker()
    breaker.failed(endpoint_of("acme", URL))
    assert drafted(told, breaker=breaker).forgotten == [told]


def test_more_than_there_is_room_for_is_left_to_anybody():
    drafts = drafted(*(event(number) for number in range(EACH + 5)))
    assert (len(drafts.at_once), len(drafts.later)) == (EACH, 5)


def test_one_that_cannot_be_rendered_does_not_hold_up_the_others():
    broken = event(1, job=changed(JOB, created_at="then"))
    drafts = drafted(broken, event(2))
    assert drafts.forgotten == [broken]
    assert [new.entry for new in drafts.at_once] == ["2-0"]

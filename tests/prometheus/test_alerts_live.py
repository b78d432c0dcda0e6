"""Each alert fires in a real Prometheus when its cause is really there, and not otherwise."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import Stack, until

from .faults_fleet import fleet
from .faults_front import front
from .faults_queue import queue
from .faults_webhooks import hooks
from .files import alerts
from .lookout import Labels, Lookout, looking
from .sites import Site
from .tools import Tools

#: The setup brings every fault about, several at a time.
pytestmark = pytest.mark.timeout(420)

CALM = "calm"


@dataclass
class Seen:
    """What there was to see; of the installation to which nothing happened, also how it did."""

    lookout: Lookout
    seconds: float
    #: What its submits were answered, and of how many jobs its receiver was told.
    submits: list[int]
    told: int


@pytest.fixture(scope="module")
def seen(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("alerts")
    with Stack() as stack:
        lookout = looking(tools, stack, folder)
        with Site(CALM, lookout) as calm, Receiver(folder / "told.jsonl") as receiver:
            # Nothing of Headrace runs yet.
            with lookout.tells("HeadraceTargetMissing") as fires:
                try:
                    fires()
                finally:
                    api = calm.api()
            with well(calm, receiver) as submits, calm.reads(api):
                began = time.monotonic()
                break_everything(lookout)
                seconds = time.monotonic() - began
            until(lambda: len(receiver.told) >= len(submits), 60, "each end is told")
            yield Seen(lookout, seconds, submits, len(receiver.told))


@contextmanager
def well(site: Site, receiver: Receiver) -> Iterator[list[int]]:
    """An installation under load to which nothing happens."""
    site.worker(CALM)
    site.sends("sender", "retries", "cron")
    with site.jobs(CALM, {}, 5, webhook=receiver.webhook()) as submits:
        yield submits


def break_everything(lookout: Lookout) -> None:
    """Each installation has its troubles one after the other, and all have them side by side."""
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(line, lookout) for line in (front, queue, fleet, hooks)]:
            each.result()


def test_each_alert_has_a_cause(seen: Seen) -> None:
    assert Counter(fault.alert for fault in seen.lookout.faults) == Counter(list(alerts()))


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_fires_when_its_cause_is_there_and_resolves_when_it_is_mended(
    seen: Seen, alert: str
) -> None:
    [fault] = [each for each in seen.lookout.faults if each.alert == alert]
    assert not fault.error, fault.error
    assert fault.began < fault.fired <= fault.mended <= fault.resolved


def test_nothing_fires_without_its_cause(seen: Seen) -> None:
    assert seen.lookout.unexplained() == {}


def test_where_nothing_is_broken_nothing_fires_or_waits_to(seen: Seen) -> None:
    assert set(seen.submits) == {202}
    assert seen.told == len(seen.submits) > seen.seconds
    fired, waited = (
        {name: times for name, labels, times in seen.lookout.history(state) if is_calm(labels)}
        for state in ("firing", "pending")
    )
    assert fired == {}
    # Evaluated once a second. A machine that stands still for a moment may be seen.
    assert sum(map(len, waited.values())) <= seen.seconds / 20, waited


def is_calm(labels: Labels) -> bool:
    return labels.get("namespace") == CALM

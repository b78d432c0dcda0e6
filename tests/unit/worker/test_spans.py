"""The time in the queue, as a collector gets it: with the batch that ended it, or without one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from telemetry import traces
from telemetry.otlp import Traces
from tests.otlp import Collector, Seen
from worker.holding import Batch, Held, Phase
from worker.spans import Spans
from worker.station import Station

PARENT = "00f067aa0ba902b7"
#: Between the start and the batch; more than the time between two lines.
PAUSE_S = 0.05


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with Collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        yield made


@pytest.fixture
def traced(hold: Callable[..., Held]) -> Callable[[str], Held]:
    def make(number: str) -> Held:
        held = hold(f"job_{number}", Phase.STARTED)
        held.job = replace(held.job, traceparent=f"00-{number * 32}-{PARENT}-01")
        return held

    return make


def spans(made: Traces | None) -> Spans:
    assert made is not None
    return Spans(made, model="m", version="1", worker="w")


def named(collector: Collector, name: str) -> list[Seen]:
    return sorted(
        (each for each in collector.spans if each.name == name), key=lambda each: each.trace
    )


def test_queue_and_batch_are_linked_both_ways(
    collector: Collector, traced: Callable[[str], Held]
) -> None:
    jobs = [traced("a"), traced("b")]
    batch = Batch(1, [each.feed for each in jobs], 2, 0.0)
    with traces.opened("test") as made:
        told = spans(made)
        told.started(jobs, 2)
        started = time.time()
        time.sleep(PAUSE_S)
        told.began(batch, jobs)
        assert [each.waited for each in jobs] == [None, None]
        assert batch.span is not None
        batch.span.end()
    [seen] = named(collector, "batch")
    queues = named(collector, "queue")
    assert [each.trace for each in queues] == ["a" * 32, "b" * 32]
    assert [each.links for each in queues] == [{(seen.trace, seen.id)}] * 2
    requests = {(each.trace, PARENT) for each in queues}
    assert seen.links == requests | {(each.trace, each.id) for each in queues}
    # It was running as of its start; that it was told later changes nothing.
    assert all(each.end <= started for each in queues)
    assert seen.begin >= started + PAUSE_S


def test_one_that_no_batch_began_with_is_told_when_it_leaves(
    collector: Collector, traced: Callable[[str], Held], station: Station
) -> None:
    job = traced("a")
    with traces.opened("test") as made:
        spans(made).started([job], 1)
        started = time.time()
        time.sleep(PAUSE_S)
        station.holding.forget(job)
    [queue] = named(collector, "queue")
    assert (queue.links, queue.failed) == (set(), False)
    assert queue.end <= started


def test_one_that_was_taken_away_before_its_start_was_known_is_told_at_once(
    collector: Collector, traced: Callable[[str], Held], station: Station
) -> None:
    job = traced("a")
    station.holding.forget(job)
    with traces.opened("test") as made:
        spans(made).started([job], 1)
    assert len(named(collector, "queue")) == 1


def test_a_batch_has_no_link_to_what_a_sampler_left_out(
    collector: Collector, traced: Callable[[str], Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    job = traced("a")
    batch = Batch(1, [job.feed], 1, 0.0)
    with traces.opened("test") as made:
        told = spans(made)
        told.started([job], 1)
        told.began(batch, [job])
        assert batch.span is not None
        batch.span.end()
    [seen] = collector.spans
    assert (seen.name, seen.links) == ("batch", {("a" * 32, PARENT)})

"""Frames survive the way between feeder and engine, however their bytes are cut."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import channel, wire

ERROR = {"code": "model_error", "detail": "predict raised", "errors": [{"loc": ["body", 0]}]}
TO_ENGINE = [
    wire.Load("/models/echo", "echo", "1", settings={"depth": [1, {"a": None}]}),
    wire.Jobs(
        [wire.EngineJob("job_1", 1, b'{"text":"\xc3\xa9"}', "high", "a", alone=True)], more=True
    ),
    wire.Go(7, [1]),
    wire.Drop([1]),
    wire.Cancel([]),
    wire.Probe(3),
    wire.Stop(),
]
TO_FEEDER = [
    wire.Described(b"{}"),
    wire.Loaded(b"{}", 1.5, 2**33, "cuda:0", 32, 2.5, 300.0, 5.0),
    wire.LoadFailed("model_load_failed", "no class Model"),
    wire.Formed(7, [1]),
    wire.Began(7, [1]),
    wire.Done(
        7,
        [wire.Item(1, b"{}", None, 0.1), wire.Item(2, None, ERROR, 0.1)],
        2,
        0.1,
        last=True,
    ),
    wire.Refused(3, ERROR),
    wire.Progress(1, 0.5, None),
    wire.Log(1, "half"),
    wire.ProbeOk(3),
    wire.SafeSize("256", 8),
    wire.Memory(1, 2, oom=True),
    wire.Fatal("CUDA error"),
]


@given(st.lists(st.integers(1, 400), max_size=30))
def test_cut_anywhere_the_frames_are_the_same(cuts):
    data = bytes(channel.pack(TO_FEEDER))
    unpacker, found = channel.feeder_unpacker(), []
    for cut in [*cuts, len(data)]:
        found += unpacker.feed(data[:cut])
        data = data[cut:]
    assert found == TO_FEEDER


def test_every_frame_of_the_feeder_reaches_the_engine():
    assert channel.engine_unpacker().feed(bytes(channel.pack(TO_ENGINE))) == TO_ENGINE


def test_defaults_are_filled_in_for_what_is_left_out():
    [jobs] = channel.engine_unpacker().feed(
        bytes(channel.pack([wire.Jobs([wire.EngineJob("job_1", 1, b"1")])]))
    )
    assert jobs.jobs[0].timeout_s == 300
    assert not jobs.more


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\x01\xc1",
        b"\0\0\0\x02\x91\xa0",
        bytes(channel.pack([wire.Fatal("of the other side")])),
    ],
)
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(channel.BrokenStream):
        channel.engine_unpacker().feed(data)


def test_a_frame_over_the_limit_is_not_sent(monkeypatch):
    monkeypatch.setattr(channel, "MAX_FRAME", 100)
    with pytest.raises(channel.BrokenStream, match="over the limit of 100"):
        channel.pack([wire.Log(1, "x" * 200)])


async def test_both_ends_talk_and_notice_the_end():
    ours, theirs = socket.socketpair()
    engine = channel.EngineChannel(theirs)
    feeder = await channel.FeederChannel.open(ours)
    feeder.send(*TO_ENGINE)
    await feeder.drain()
    assert engine.receive() == TO_ENGINE
    engine.send(TO_FEEDER[:2])
    assert await feeder.receive() == TO_FEEDER[:2]
    theirs.close()
    assert await feeder.receive() == []
    feeder.close()


async def test_a_closed_feeder_ends_the_engines_reading():
    ours, theirs = socket.socketpair()
    with theirs:
        feeder = await channel.FeederChannel.open(ours)
        feeder.close()
        assert await asyncio.to_thread(channel.EngineChannel(theirs).receive) is None

"""Ids sort by time, carry their shard, and nothing else passes for one."""

from __future__ import annotations

import re
import time

import pytest

from jobs.ids import milliseconds_of, new_batch_id, new_job_id, shard_of, time_part, uuid7
from jobs.shards import SHARDS, idempotency_digest, pick, shards_for_model


def test_an_id_has_the_public_form() -> None:
    assert re.fullmatch(r"job_[0-9a-v]{29}", new_job_id(255))
    assert re.fullmatch(r"bat_[0-9a-v]{29}", new_batch_id(0))


def test_ids_of_a_shard_sort_as_they_were_made() -> None:
    ids = [new_job_id(7) for _ in range(5000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5000


@pytest.mark.parametrize("shard", [0, 1, 31, 32, 255])
def test_the_shard_comes_back_out(shard: int) -> None:
    assert shard_of(new_job_id(shard)) == shard
    assert shard_of(new_batch_id(shard), "bat") == shard


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job_",
        "job_x",
        new_batch_id(3),
        new_job_id(3).upper(),
        new_job_id(3) + "0",
        # A shard past the last one was never minted.
        "job_800" + "0" * 26,
    ],
)
def test_what_is_no_job_id_has_no_shard(text: str) -> None:
    assert shard_of(text) is None


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time() * 1000
    made = milliseconds_of(new_job_id(9))
    assert before - 1 <= made <= time.time() * 1000 + 1
    assert len(time_part(new_job_id(9))) == 26


def test_uuid7_has_its_version_and_variant() -> None:
    value = uuid7()
    assert (value >> 76 & 0xF, value >> 62 & 3) == (7, 2)


def test_a_longer_list_of_shards_begins_with_the_shorter() -> None:
    assert shards_for_model("embed", 4)[:2] == shards_for_model("embed", 2)
    assert len(set(shards_for_model("embed", SHARDS))) == SHARDS
    with pytest.raises(ValueError, match="1 to 256"):
        shards_for_model("embed", 0)


def test_a_repeated_key_meets_its_first_request() -> None:
    shards = shards_for_model("embed", 8)
    digest = idempotency_digest("default", "embed", "k")
    assert len({pick(shards, digest) for _ in range(20)}) == 1
    assert len({pick(shards) for _ in range(400)}) == 8
    assert digest != idempotency_digest("other", "embed", "k")

"""Which of the Sentinels' views count."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import QueueUnavailable
from jobs.node import Limits
from jobs.redis_errors import translated
from jobs.redis_url import target_of
from jobs.topology import Sentinels


def view(said: str) -> dict[str, Any]:
    """As `epoch address flag...`."""
    epoch, address, *flags = said.split()
    return {
        "config-epoch": epoch,
        "ip": address,
        "port": 6379,
        "flags": " ".join(flags),
        "is_master": "slave" not in flags,
        "is_sdown": "s_down" in flags,
        "is_odown": "o_down" in flags,
    }


class Told(Sentinels):
    """Sentinels that have said this."""

    def __init__(self, views: list[str]) -> None:
        super().__init__(target_of("redis+sentinel://a,b,c/main", 1.0), Limits(1, 1.0, False))
        self._told = [view(each) for each in views]

    async def _views(self) -> tuple[list[dict[str, Any] | None], list[str]]:
        return [*self._told], []


@pytest.mark.parametrize(
    "views",
    [
        ["1 A", "1 A"],
        ["1 A s_down", "1 A"],
        ["1 A", "1 A s_down"],
        ["1 A", "1 A", "1 A s_down"],
        ["0 B s_down", "1 A"],
        ["0 B s_down o_down", "0 B s_down", "1 A"],
    ],
)
async def test_one_sentinel_that_is_cut_off_hides_no_master(views: list[str]) -> None:
    assert await Told(views)._discover() == ("A", 6379)


@pytest.mark.parametrize(
    "views",
    [
        [],
        ["1 A s_down"],
        ["1 A s_down", "1 A s_down"],
        ["1 A", "1 A s_down", "1 A s_down"],
        ["1 A", "1 A", "1 A s_down o_down"],
        ["0 B", "0 B", "1 A s_down"],
        ["1 A slave", "1 A"],
    ],
)
async def test_a_master_that_most_take_for_dead_is_not_named(views: list[str]) -> None:
    with pytest.raises(QueueUnavailable, match="no master 'main'"), translated():
        await Told(views)._discover()

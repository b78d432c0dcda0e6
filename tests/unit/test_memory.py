"""How much memory there is: the machine's, or less in a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.memory import _limits, memory_bytes


def test_there_is_some_memory() -> None:
    assert memory_bytes() > 64 << 20


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        ("0::/\n", {"memory.max": "max\n"}, []),
        ("0::/\n", {"memory.max": "1000\n"}, [1000]),
        (
            "0::/a/b\n",
            {"memory.max": "max", "a/memory.max": "500", "a/b/memory.max": "900"},
            [500, 900],
        ),
        (
            "5:cpu:/x\n4:memory:/x\n",
            {"memory/x/memory.limit_in_bytes": "7", "memory/memory.limit_in_bytes": "9"},
            [7, 9],
        ),
        ("", {}, []),
    ],
)
def test_every_group_around_the_process_counts(
    tmp_path: Path, groups: str, files: dict[str, str], limits: list[int]
) -> None:
    told = tmp_path / "groups"
    told.write_text(groups)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _limits(told, tmp_path) == limits
    assert _limits(tmp_path / "none", tmp_path) == []

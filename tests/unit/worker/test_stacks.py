"""What is kept of the stacks that an engine leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.engine_process import EngineProcess
from worker.stacks import MOST_BYTES, StackFile, arranged

IDLE = 'Thread 0x1 (most recent call first):\n  File "selectors.py", line 1 in select'
AT_WORK = 'Current thread 0x2 (most recent call first):\n  File "queue.py", line 2 in get'
MODEL = 'Thread 0x3 (most recent call first):\n  File "/m/model.py", line 3 in predict'


def test_the_model_s_frames_come_first():
    assert arranged(f"{IDLE}\n\n{AT_WORK}\n\n{MODEL}\n", "/m") == "\n\n".join(
        [MODEL, AT_WORK, IDLE]
    )


def test_of_a_crash_its_name_comes_first_and_no_list_of_modules():
    dump = (
        f"Fatal Python error: Aborted\n\n{IDLE}\n\n{MODEL}\n\nExtension modules: a, b (total: 2)\n"
    )
    assert arranged(dump, "/m") == f"Fatal Python error: Aborted\n\n{MODEL}\n\n{IDLE}"


def test_no_more_is_kept_than_there_is_room_for():
    assert len(arranged("\n\n".join([IDLE] * 1000 + [MODEL]), "/m")) <= MOST_BYTES


def test_only_the_dump_that_was_asked_for_counts():
    file = StackFile()
    os.write(file.fileno(), b"an earlier one\n\n")
    file.expect()
    assert (file.size, file.read("/m")) == (0, "")
    os.write(file.fileno(), MODEL.encode())
    assert file.read("/m") == MODEL
    file.close()


@pytest.mark.parametrize("error", [PermissionError(1, "seccomp"), OSError(38, "not implemented")])
def test_where_a_memfd_is_refused_a_file_takes_its_place(monkeypatch, error):
    def refused(*_: object) -> int:
        raise error

    monkeypatch.setattr(os, "memfd_create", refused)
    file = StackFile()
    os.write(file.fileno(), MODEL.encode())
    assert file.read("/m") == MODEL
    file.close()


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


async def test_an_engine_that_cannot_be_spawned_leaves_nothing_open(monkeypatch):
    def refused() -> int:
        raise OSError(28, "no space")

    with pytest.raises(FileNotFoundError):
        await EngineProcess.spawn(["/no/such/command"])
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        await EngineProcess.spawn(["/no/such/command"])
    monkeypatch.setattr("worker.stacks._memory", refused)
    with pytest.raises(OSError, match="no space"):
        await EngineProcess.spawn(["/no/such/command"])
    assert descriptors() == before

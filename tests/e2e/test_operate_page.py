"""docs/operate.md: each command that needs no cluster is run as it stands there."""

from __future__ import annotations

import pytest

from headrace.chaos.stack import Stack
from tests.operate_page import NOT_RUN, Command, commands

from .backed_up import BackedUp
from .operated import Gone, Shell
from .reader import Reader

#: Many processes, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)


def in_the_shell(command: Command) -> bool:
    """Whether a reader runs it: what is in blocks so marked, and every `headrace` in a sentence."""
    return command.marked or (command.spoken and command.words[0] == "headrace")


def for_a_backup(command: Command) -> bool:
    """Whether it makes a backup of a Redis that runs, or puts one back."""
    return command.section == "Backups" and command.spoken and command.text != "headrace up"


def test_each_command_is_run_or_is_named_as_not_run() -> None:
    others = [each for each in commands() if not in_the_shell(each) and not for_a_backup(each)]
    # Both ways: nothing is left out, and nothing is called impossible that is not there.
    assert {each.beginning for each in others} == set(NOT_RUN)


def test_what_needs_no_cluster_runs() -> None:
    # With one attempt, what fails once is dead, and runs when it is retried.
    with Gone() as receiver, Stack(webhook_allow="127.0.0.0/8", max_attempts="1") as stack:
        reader = Reader(stack, receiver)
        for command in dict.fromkeys(each.text for each in commands() if in_the_shell(each)):
            reader.does(command)


def test_a_backup_of_a_redis_that_runs_has_all_that_was_acknowledged() -> None:
    with Stack() as stack:
        case = BackedUp(stack, Shell(stack, stack.folder / "home"))
        with case.load:
            for command in filter(for_a_backup, commands()):
                case.does(command)
        case.all_is_there()

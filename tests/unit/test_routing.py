"""What is asked again, of whom, and what never is."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from redis import exceptions

from jobs import routing
from jobs.redis_errors import NotSent
from jobs.routing import Router


class Server:
    """Answers a call with what the test says next."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.calls = self
        self.tripped = 0

    async def close(self) -> None:
        """A server's idle connections."""

    def trip(self) -> None:
        self.tripped += 1

    async def ask(self) -> Any:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Map:
    """A topology that finds the servers one after the other, each time it looks."""

    def __init__(self, *servers: Server | None, patience_s: float = 0.2) -> None:
        self.servers = list(servers)
        self.patience_s = patience_s
        self.redirected: list[str] = []

    def at(self, slot: int) -> Any:
        return self.servers[0]

    async def refresh(self, suspect: Any = None) -> None:
        if len(self.servers) > 1:
            self.servers.pop(0)

    def redirect(self, slot: int, error: exceptions.MovedError) -> None:
        self.redirected.append(f"{error.host}:{error.port}")


async def ask(topology: Map, *, repeat: bool) -> Any:
    router = Router(topology)  # type: ignore[arg-type]
    return await router.ask(7, lambda node: node.ask(), repeat=repeat)  # type: ignore[attr-defined]


LOST = exceptions.ConnectionError("closed by server")
NOT_RUN = [
    exceptions.ReadOnlyError("a replica"),
    exceptions.MovedError("7 10.0.0.2:6379"),
    exceptions.AskError("7 10.0.0.2:6379"),
    exceptions.ClusterDownError("down"),
    exceptions.TryAgainError("again"),
    exceptions.MasterDownError("down"),
    exceptions.BusyLoadingError("loading"),
    NotSent("refused"),
]


@pytest.mark.parametrize("error", NOT_RUN, ids=lambda error: type(error).__name__)
async def test_what_was_not_run_is_asked_of_the_next_even_a_claim(error: Exception) -> None:
    old, new = Server(error), Server("done")
    topology = Map(old, new)
    assert await ask(topology, repeat=False) == "done"
    assert (old.asked, new.asked) == (1, 1)
    assert topology.redirected == (
        ["10.0.0.2:6379"] if isinstance(error, exceptions.MovedError) else []
    )


async def test_a_lost_answer_is_asked_for_again_only_where_that_is_harmless() -> None:
    old, new = Server(LOST), Server("done")
    with pytest.raises(exceptions.ConnectionError):
        await ask(Map(old, new), repeat=False)
    assert new.asked == 0
    assert await ask(Map(Server(LOST), new), repeat=True) == "done"


async def test_alone_a_lost_answer_is_asked_for_once_more_and_a_refused_connection_not() -> None:
    server = Server(LOST, "done")
    assert await ask(Map(server, patience_s=0), repeat=True) == "done"
    for error, times in ((LOST, 2), (NotSent("refused"), 1), (TimeoutError(), 1)):
        server = Server(error)
        with pytest.raises(type(error)):
            await ask(Map(server, patience_s=0), repeat=True)
        assert server.asked == times
        assert server.tripped == 0


async def test_a_server_that_stays_away_is_given_up_and_left_to_its_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Its patience is four looks at this clock, also where the process is held up between them.
    clock = itertools.count(1000.0, 0.05)
    monkeypatch.setattr(routing, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    server = Server(NotSent("refused"))
    with pytest.raises(NotSent):
        await ask(Map(server), repeat=True)
    assert server.asked > 2
    assert server.tripped == 1


async def test_nobody_known_is_looked_for() -> None:
    assert await ask(Map(None, Server("done")), repeat=False) == "done"
    with pytest.raises(NotSent):
        await ask(Map(None), repeat=True)


async def test_an_answer_that_is_an_error_is_final() -> None:
    server = Server(exceptions.ResponseError("WRONGTYPE"))
    with pytest.raises(exceptions.ResponseError):
        await ask(Map(server), repeat=True)
    assert server.asked == 1


async def test_servers_that_send_to_each_other_are_left() -> None:
    there, back = Server(exceptions.MovedError("7 a:1")), Server(exceptions.MovedError("7 b:1"))
    topology = Map(*[there, back] * 50)
    with pytest.raises(exceptions.MovedError):
        await ask(topology, repeat=True)
    assert there.asked + back.asked < 40

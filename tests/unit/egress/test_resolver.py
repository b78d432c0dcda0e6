"""What the system's resolver says becomes addresses, none, or an error."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from egress.resolver import SystemResolver, on_behalf_of

from .calls import eventually


async def test_names_and_numbers_become_addresses() -> None:
    async with SystemResolver() as resolver:
        assert await resolver.resolve("192.0.2.7", 443) == ["192.0.2.7"]
        assert {"127.0.0.1", "::1"}.issuperset(await resolver.resolve("localhost", 443))


async def test_each_address_is_named_once_and_found_in_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        threads.append(threading.current_thread().name)
        addresses = [("192.0.2.7", port), ("2001:db8::1", port, 0, 0), ("192.0.2.7", port)]
        return [(0, 0, 0, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with SystemResolver() as resolver:
        assert await resolver.resolve("name.test", 443) == ["192.0.2.7", "2001:db8::1"]
    assert threads[0].startswith("egress-names")


@pytest.mark.parametrize(("code", "raises"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)])
async def test_no_such_name_is_not_the_same_as_no_name_server(
    monkeypatch: pytest.MonkeyPatch, code: int, raises: bool
) -> None:
    def look_up(host: str, port: int, **_: object) -> None:
        raise socket.gaierror(code, "as the system says")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with SystemResolver() as resolver:
        if raises:
            with pytest.raises(OSError, match="as the system says"):
                await resolver.resolve("name.test", 443)
        else:
            assert await resolver.resolve("name.test", 443) == []


async def test_whose_name_servers_are_dead_holds_up_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead = threading.Event()

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host.startswith("dead"):
            dead.wait(20)
        return [(0, 0, 0, "", ("192.0.2.7", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def asked(tenant: str, host: str) -> list[str]:
        on_behalf_of.set(tenant)
        return await resolver.resolve(host, 443)

    async with SystemResolver() as resolver:
        try:
            waiting = [asyncio.create_task(asked("a", f"dead-{n}.test")) for n in range(40)]
            await eventually(lambda: sum(task.done() for task in waiting) >= 32)
            refused = [task for task in waiting if task.done()]
            pending = [task for task in waiting if not task.done()]
            assert len(pending) == 8
            for task in refused:
                with pytest.raises(OSError, match="too many names"):
                    task.result()
            assert await asyncio.wait_for(asked("b", "live.test"), 5) == ["192.0.2.7"]
            # A try that is over does not end its look-up: only a thread that is free counts.
            for task in pending:
                task.cancel()
            await asyncio.wait(pending)
            with pytest.raises(OSError, match="too many names"):
                await asked("a", "live.test")
        finally:
            dead.set()
        await eventually(lambda: not resolver._under_way)
        assert await asked("a", "live.test") == ["192.0.2.7"]

"""The gate: whatever a tenant writes, and whatever a name server answers, nothing inside is called.

Each line of defence is also tried alone, with the ones before it taken away.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvloop
from aiohttp.abc import AbstractResolver, ResolveResult

from egress.connect import CallFailed, EgressClient
from egress.targets import EgressPolicy, Target

from . import corpus
from .receivers import Names, Receiver, Recorder, always, ok, receiving

PUBLIC = "93.184.216.34"
INSIDE = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00:ec2::254")


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@contextlib.asynccontextmanager
async def inside() -> AsyncIterator[list[Receiver]]:
    """Listen on the loopback of each family; it is a failure if anybody comes."""
    async with contextlib.AsyncExitStack() as stack:
        hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
        answer = always(ok())
        listeners = [await stack.enter_async_context(receiving(answer, host=h)) for h in hosts]
        yield listeners
        # A connection that was made without a word is seen only when the loop comes round.
        await asyncio.sleep(0.02)
        assert [each.connections for each in listeners] == [0] * len(hosts)


def ports(listeners: list[Receiver]) -> list[int]:
    return [443, *(each.port for each in listeners)]


async def kind_of(client: EgressClient, url: str) -> str:
    with pytest.raises(CallFailed) as failed:
        await client.post(url, b"{}", {}, 2.0)
    for address in INSIDE:
        assert address not in failed.value.detail
    return failed.value.kind


async def test_the_listeners_would_notice() -> None:
    client = EgressClient(EgressPolicy.parse(["127.0.0.1"]))
    async with receiving(always(ok())) as receiver, client:
        await client.post(f"http://127.0.0.1:{receiver.port}/", b"", {})
    assert receiver.connections == 1


async def test_the_whole_corpus_makes_no_connection() -> None:
    recorder, names = Recorder(), Names([PUBLIC])
    async with inside() as listeners:
        policy = EgressPolicy.parse([], ports=ports(listeners))
        async with EgressClient(policy, resolver=names, open_socket=recorder) as client:
            for listener in listeners:
                for url in corpus.urls(listener.port):
                    assert await kind_of(client, url) == "forbidden", url
    assert (recorder.addresses, names.asked) == ([], [])


async def test_a_public_name_and_address_would_be_connected_to() -> None:
    recorder = Recorder()
    async with EgressClient(
        EgressPolicy(), resolver=Names([PUBLIC]), open_socket=recorder
    ) as client:
        assert await kind_of(client, "https://example.com/") == "connect"
        assert await kind_of(client, "https://[2606:4700::1]/") == "connect"
    assert recorder.addresses == [PUBLIC, "2606:4700::1"]


@pytest.mark.parametrize("bad", INSIDE)
async def test_a_name_that_answers_with_an_inner_address_is_not_called(bad: str) -> None:
    recorder = Recorder()
    answers = [[bad], [bad, PUBLIC], [PUBLIC, bad], [PUBLIC, "2606:4700::1", bad]]
    async with inside() as listeners:
        policy = EgressPolicy.parse([], ports=ports(listeners))
        async with EgressClient(policy, resolver=Names(*answers), open_socket=recorder) as client:
            for _ in answers:
                for port in ports(listeners):
                    assert await kind_of(client, f"https://name.test:{port}/") == "forbidden"
    assert recorder.addresses == []


@pytest.mark.parametrize("bad", ["127.0.0.1", "::1"])
async def test_a_name_that_turns_inward_is_not_followed(bad: str) -> None:
    recorder, names = Recorder(), Names([PUBLIC], [bad])
    async with inside() as listeners:
        policy = EgressPolicy.parse([], ports=ports(listeners))
        url = f"https://rebind.test:{listeners[0].port}/"
        async with EgressClient(policy, resolver=names, open_socket=recorder) as client:
            # At submit it is public, and so it is asked again for the call.
            assert await policy.resolve(policy.check_url(url), names) == [PUBLIC]
            assert await kind_of(client, url) == "forbidden"
    assert (recorder.addresses, len(names.asked)) == ([], 2)


@pytest.mark.parametrize("bad", ["127.0.0.1", "::1"])
async def test_what_was_checked_is_what_is_connected_to(bad: str) -> None:
    recorder, names = Recorder(), Names([PUBLIC], [bad])
    async with inside() as listeners:
        policy = EgressPolicy.parse([], ports=ports(listeners))
        url = f"https://rebind.test:{listeners[0].port}/"
        async with EgressClient(policy, resolver=names, open_socket=recorder) as client:
            assert await kind_of(client, url) == "connect"
            assert (recorder.addresses, len(names.asked)) == ([PUBLIC], 1)
            assert await kind_of(client, url) == "forbidden"
    assert recorder.addresses == [PUBLIC]


async def test_the_systems_own_names_are_no_way_in() -> None:
    async with inside() as listeners:
        policy = EgressPolicy.parse([], ports=ports(listeners))
        async with EgressClient(policy) as client:
            for port in ports(listeners):
                assert await kind_of(client, f"https://localhost:{port}/") == "forbidden"


class Lying(AbstractResolver):
    """In the place of the resolver that checks."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        address = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [ResolveResult(**address, family=family, proto=0, flags=0)]  # type: ignore[typeddict-item]

    async def close(self) -> None:
        """Nothing is held."""


async def test_the_socket_alone_refuses_what_no_check_let_through() -> None:
    async with inside() as listeners:
        policy = EgressPolicy.parse([], ports=ports(listeners))
        async with EgressClient(policy, resolver=Names([PUBLIC])) as client:
            client._session.connector._resolver = Lying()  # type: ignore[union-attr,attr-defined]
            url = f"https://name.test:{listeners[0].port}/"
            assert await kind_of(client, url) == "forbidden"


async def test_one_calls_address_is_not_let_through_for_another() -> None:
    class ByName:
        async def resolve(self, host: str, port: int) -> list[str]:
            number = int(host.partition(".")[0].lstrip("n"))
            await asyncio.sleep(0.001 * (number % 3))
            return [PUBLIC] if number % 2 else ["127.0.0.1"]

    recorder = Recorder()
    async with inside() as listeners:
        policy = EgressPolicy.parse([], ports=ports(listeners))
        async with EgressClient(policy, resolver=ByName(), open_socket=recorder) as client:
            urls = [f"https://n{number}.test:{listeners[0].port}/" for number in range(20)]
            kinds = await asyncio.gather(*(kind_of(client, url) for url in urls))
    assert kinds == ["forbidden", "connect"] * 10
    assert recorder.addresses == [PUBLIC] * 10


def test_it_holds_on_the_loop_of_production() -> None:
    async def all_of_it() -> None:
        await test_the_listeners_would_notice()
        await test_the_whole_corpus_makes_no_connection()
        await test_a_public_name_and_address_would_be_connected_to()
        await test_what_was_checked_is_what_is_connected_to("127.0.0.1")
        await test_the_systems_own_names_are_no_way_in()
        await test_the_socket_alone_refuses_what_no_check_let_through()

    uvloop.run(all_of_it())


async def test_a_target_of_another_policy_is_checked_again() -> None:
    target = Target("https", "10.0.0.1", 443, "/", "10.0.0.1")
    with pytest.raises(ValueError, match="not public"):
        await EgressPolicy().resolve(target, Names([PUBLIC]))

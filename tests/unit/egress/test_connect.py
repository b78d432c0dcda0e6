"""A call goes to the checked address under the target's name, and its end is one of a few words."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohttp
import pytest

from egress.connect import Answer, EgressClient, Limits, open_socket
from egress.failures import call_failed
from egress.resolver import Resolver
from egress.targets import EgressPolicy

from .calls import HEADERS, LOOPBACK, at, eventually, failure, post
from .conftest import Certificate
from .receivers import Names, Receiver, always, ok, once, receiving, request, silent


async def test_what_is_sent_and_what_is_kept() -> None:
    fields = [b"Retry-After: 7", b"Content-Type: text/plain", b"Set-Cookie: a=b", b"X-Other: c"]
    async with receiving(always(ok(b"body", *fields, status=b"503 No"))) as receiver:
        answer = await post(at(receiver, "/hook?a=%2F"))
    assert (answer.status, answer.body, answer.read) == (503, b"body", 4)
    assert answer.headers == {"retry-after": "7", "content-type": "text/plain"}
    assert 0 < answer.seconds < 5
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    line, *sent = head.decode().split("\r\n")
    assert (line, body) == ("POST /hook?a=%2F HTTP/1.1", b"{}")
    assert dict(each.split(": ", 1) for each in sent) == {
        "Host": f"127.0.0.1:{receiver.port}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "Headrace",
        "Content-Length": "2",
        **HEADERS,
    }


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "connection"])
async def test_the_connection_is_not_the_callers_to_describe(name: str) -> None:
    async with EgressClient(LOOPBACK) as client:
        with pytest.raises(ValueError, match=name.lower()):
            await client.post("http://127.0.0.1:9/", b"", {name: "x"})


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with receiving(always(ok())) as inside:
        there = at(inside).encode()
        for status in (b"301 Moved", b"302 Found", b"303 See", b"307 Moved", b"308 Moved"):
            found = ok(b"", b"Location: " + there, b"Connection: close", status=status)
            async with receiving(once(found)) as receiver:
                answer = await post(at(receiver))
            assert answer.status == int(status[:3])
            assert answer.headers["location"].encode() == there
    assert inside.connections == 0


async def test_no_cookie_comes_back() -> None:
    # By name: a cookie jar takes none from an address anyway.
    client = EgressClient(EgressPolicy.parse(["a.test"]), resolver=Names(["127.0.0.1"]))
    baking = always(ok(b"", b"Set-Cookie: a=b; Path=/"))
    async with receiving(baking) as receiver, client:
        for _ in range(2):
            await client.post(f"http://a.test:{receiver.port}/", b"", {})
    assert [b"cookie" in each.lower() for each in receiver.requests] == [False, False]


async def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(always(ok())) as proxy, receiving(always(ok())) as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert (await post(at(receiver))).status == 200
    assert (proxy.connections, receiver.connections) == (0, 1)


async def test_no_answer_at_all_is_a_timeout() -> None:
    async with receiving(silent) as receiver:
        # Time enough to connect, also where the process is held up meanwhile.
        failed = await failure(post(at(receiver), timeout_s=1.5))
        assert (failed.kind, failed.detail) == ("timeout", "there was no answer in time")
        await eventually(lambda: receiver.ended == 1)


async def test_a_closed_port_is_a_failure_to_connect() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        failed = await failure(post(f"http://127.0.0.1:{bound.getsockname()[1]}/"))
    assert (failed.kind, failed.detail) == ("connect", "Connection refused")


async def test_a_call_that_is_canceled_leaves_no_connection() -> None:
    async with receiving(silent) as receiver, EgressClient(LOOPBACK) as client:
        call = asyncio.create_task(client.post(at(receiver), b"", {}))
        await eventually(lambda: receiver.requests != [])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually(lambda: receiver.ended == 1)


async def test_a_connection_is_used_again() -> None:
    async with receiving(always(ok(b"x" * 100))) as receiver, EgressClient(LOOPBACK) as client:
        for _ in range(5):
            await client.post(at(receiver), b"", {})
        assert (receiver.connections, receiver.ended) == (1, 0)


async def test_a_connection_is_closed_when_idle() -> None:
    client = EgressClient(LOOPBACK, limits=Limits(idle_s=0.1))
    async with receiving(always(ok(b"x" * 100))) as receiver, client:
        await client.post(at(receiver), b"", {})
        await eventually(lambda: receiver.ended == 1)


async def test_each_new_connection_is_a_new_look_up() -> None:
    names = Names(["127.0.0.1"])
    client = EgressClient(EgressPolicy.parse(["a.test"]), resolver=names)
    async with receiving(once(ok(b"", b"Connection: close"))) as receiver, client:
        for _ in range(3):
            assert (await client.post(f"http://a.test:{receiver.port}/", b"", {})).status == 200
    assert (receiver.connections, names.asked) == (3, ["a.test"] * 3)


def test_the_kernel_keeps_little_of_what_nobody_reads() -> None:
    with open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 100_000


async def test_one_receiver_has_only_so_many_connections() -> None:
    go = asyncio.Event()

    async def waits(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receiver: Receiver
    ) -> None:
        while True:
            await request(reader, receiver)
            await go.wait()
            writer.write(ok())

    client = EgressClient(LOOPBACK, limits=Limits(per_host=2))
    async with receiving(waits) as receiver, client:
        calls = [asyncio.create_task(client.post(at(receiver), b"", {})) for _ in range(6)]
        await eventually(lambda: len(receiver.requests) == 2)
        # Who waits for a connection waits within the time of its call.
        assert (await failure(client.post(at(receiver), b"", {}, 0.05))).kind == "timeout"
        go.set()
        assert [(await call).status for call in calls] == [200] * 6
    assert receiver.most_open == 2


async def test_an_allowed_name_is_called_by_http_under_its_name() -> None:
    names = Names(["127.0.0.1"])
    client = EgressClient(EgressPolicy.parse(["*.inside.test"]), resolver=names)
    async with receiving(always(ok())) as receiver, client:
        for name in ("a.inside.test", "b.inside.test", "a.inside.test"):
            await client.post(f"http://{name}:{receiver.port}/", b"", {})
    hosts = [each.split(b"\r\n")[1].decode() for each in receiver.requests]
    assert hosts == [f"Host: {name}.inside.test:{receiver.port}" for name in "aba"]
    # Not one connection for two names, though the address is the same.
    assert (receiver.connections, names.asked) == (2, ["a.inside.test", "b.inside.test"])


class NoNames:
    """A resolver without name servers."""

    def __init__(self, pause_s: float = 0) -> None:
        self.pause_s = pause_s

    async def resolve(self, host: str, port: int) -> list[str]:
        await asyncio.sleep(self.pause_s)
        raise OSError("Temporary failure in name resolution")


@pytest.mark.parametrize(
    ("resolver", "connect_s", "detail"),
    [
        (Names([]), 5.0, "the name has no address"),
        (NoNames(), 5.0, "the name could not be looked up"),
        (NoNames(60), 0.1, "the name could not be looked up in time"),
    ],
)
async def test_a_name_without_an_address(resolver: Resolver, connect_s: float, detail: str) -> None:
    async with EgressClient(EgressPolicy(), resolver=resolver) as client:
        call = client.post("https://nowhere.test/", b"", {}, connect_s=connect_s)
        failed = await failure(call)
    assert (failed.kind, failed.detail) == ("dns", detail)


async def tls(
    name: str, receiver: Receiver, certificate: Certificate | None, connect_s: float = 5.0
) -> Answer:
    policy = EgressPolicy.parse(["127.0.0.1"], ports=[receiver.port])
    context = certificate.client() if certificate else None
    names = Names(["127.0.0.1"])
    async with EgressClient(policy, resolver=names, ssl_context=context) as client:
        url = f"https://{name}:{receiver.port}/"
        return await client.post(url, b"", {}, connect_s=connect_s)


async def test_the_address_is_the_resolvers_and_the_name_the_targets(
    certificate: Certificate,
) -> None:
    async with receiving(always(ok(b"hi")), tls=certificate.server()) as receiver:
        answer = await tls("Receiver.test", receiver, certificate)
    assert (answer.status, answer.body, receiver.connections) == (200, b"hi", 1)
    assert receiver.names == ["receiver.test"]
    assert f"Host: receiver.test:{receiver.port}".encode() in receiver.requests[0]


@pytest.mark.parametrize(
    ("name", "trusted", "word"),
    [
        ("other.test", True, "Hostname mismatch"),
        ("127.0.0.1", True, "IP address mismatch"),
        ("receiver.test", False, "self-signed certificate"),
    ],
)
async def test_a_certificate_must_be_trusted_and_the_names(
    certificate: Certificate, name: str, trusted: bool, word: str
) -> None:
    async with receiving(always(ok()), tls=certificate.server()) as receiver:
        failed = await failure(tls(name, receiver, certificate if trusted else None))
    assert (failed.kind, receiver.requests) == ("tls", [])
    assert word.replace("-", " ") in failed.detail.replace("-", " ")


async def test_a_server_without_tls_fails_the_handshake(certificate: Certificate) -> None:
    async def plain(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Receiver
    ) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with receiving(plain) as receiver:
        failed = await failure(tls("receiver.test", receiver, certificate))
    assert (failed.kind, failed.detail[:20]) == ("tls", "the handshake failed")


async def test_a_handshake_that_hangs_ends_with_the_time_to_connect(
    certificate: Certificate,
) -> None:
    async def hangs(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Receiver
    ) -> None:
        await reader.read()

    async with receiving(hangs) as receiver:
        # Enough for the look-up, also where the process is held up meanwhile.
        failed = await failure(tls("receiver.test", receiver, certificate, connect_s=1.5))
    assert (failed.kind, failed.detail) == ("timeout", "there was no connection in time")


def test_a_server_that_wants_our_certificate_says_so_after_the_handshake() -> None:
    late = aiohttp.ClientOSError(1, "alert")
    late.__cause__ = ssl.SSLError(1, "[SSL] alert certificate required")
    assert call_failed(late).kind == "tls"

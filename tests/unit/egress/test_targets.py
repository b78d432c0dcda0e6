"""Which URLs are targets, and which answers of a resolver may be connected to."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from egress.targets import EgressPolicy, ForbiddenTarget, Unresolvable

from . import corpus

PUBLIC = EgressPolicy()
PORT = 8443


class Names:
    """A resolver that knows some names, and counts how often it is asked."""

    def __init__(self, **known: list[str]) -> None:
        self.known = known
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.known.get(host.partition(".")[0], [])


def refusal(policy: EgressPolicy, url: str) -> str:
    with pytest.raises(ForbiddenTarget) as refused:
        policy.check_url(url)
    return refused.value.reason


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(set(corpus.LOOPBACK)) >= 80
    assert len(set(corpus.urls(PORT))) >= 190


@pytest.mark.parametrize("url", corpus.urls(PORT), ids=ascii)
def test_no_spelling_gets_through(url: str) -> None:
    assert refusal(EgressPolicy.parse([], ports=[443, PORT]), url)


def test_an_allowed_loopback_is_let_through_in_its_usual_spelling_alone() -> None:
    policy = EgressPolicy.parse(["127.0.0.1", "::1"], ports=[443, PORT])
    through = {}
    for url in corpus.urls(PORT):
        with contextlib.suppress(ForbiddenTarget):
            through[url] = policy.check_url(url).url
    usual, zeros = f"https://127.0.0.1:{PORT}", "0000:" * 7
    assert through == {
        f"{usual}/hook": f"{usual}/hook",
        usual: f"{usual}/",
        f"{usual}?x": f"{usual}/?x",
        f"http://127.0.0.1:{PORT}/": f"http://127.0.0.1:{PORT}/",
        **{
            f"https://[{spelling}]:{PORT}/hook": f"https://[::1]:{PORT}/hook"
            for spelling in ("::1", "0:0:0:0:0:0:0:1", f"{zeros}0001", "::0001")
        },
    }


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com:443/A?b=C", "https://example.com/A?b=C"),
        ("https://example.com?q", "https://example.com/?q"),
        ("https://example.com?", "https://example.com/"),
        ("https://b\u00fccher.example/\u00fc", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://Stra\u00dfe.example/", "https://xn--strae-oqa.example/"),
        ("https://example.com/%7Ea/%2F/../<x>", "https://example.com/%7Ea/%2F/../%3Cx%3E"),
        ("https://example.com/?to=https://a@b:1", "https://example.com/?to=https://a@b:1"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:0:0::1111]/", "https://[2606:4700::1111]/"),
        ("https://my_host.example/", "https://my_host.example/"),
        ("https://127.0.0.1.nip.io/", "https://127.0.0.1.nip.io/"),
        ("https://0x7f.example/", "https://0x7f.example/"),
    ],
)
def test_one_target_has_one_url(url: str, normal: str) -> None:
    target = PUBLIC.check_url(url)
    assert target.url == normal
    assert PUBLIC.check_url(normal) == target


@settings(max_examples=400, deadline=None)
@given(st.text("a1.:/@[]%?#\\-_xX0F\uff10\u3002\u00e9\u00df ;", max_size=24))
def test_another_parser_reads_a_target_as_we_do(text: str) -> None:
    policy = EgressPolicy.parse(["1.0.0.0/8"], ports=[*range(1, 200), 443])
    try:
        target = policy.check_url(f"https://{text}")
    except ForbiddenTarget:
        return
    assert policy.check_url(target.url) == target
    theirs = URL(target.url, encoded=True)
    assert (theirs.raw_host, theirs.port, theirs.user) == (target.host, target.port, None)
    assert theirs.raw_path_qs == target.path
    parts = urlsplit(target.url)
    assert (parts.hostname, parts.port or 443) == (target.host, target.port)


def test_a_target_is_taken_apart() -> None:
    target = EgressPolicy.parse([], ports=[443, 8443]).check_url("https://A.example:8443/x?y=1")
    assert (target.scheme, target.host, target.port) == ("https", "a.example", 8443)
    assert (target.path, target.address) == ("/x?y=1", None)
    assert target.origin == "https://a.example:8443"
    assert PUBLIC.check_url("https://[2606:4700::1]/x").origin == "https://[2606:4700::1]"
    assert PUBLIC.check_url("https://[2606:4700::1]/x").address == "2606:4700::1"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://example.com/", "https"),
        ("https://example.com:22/", "port 22"),
        ("https://a:b@example.com/", "password"),
        ("https://example.com/#x", "fragment"),
        ("https:///x", "missing"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://[::ffff:8.8.8.8]/", "four decimal numbers"),
        ("https://example.com./", "dot"),
        ("https://[fe80::1%25eth0]/", "interface"),
        ("https://127%2e0.0.1/", "percent-encoded"),
        ("https://10.0.0.1/", "not public"),
        ("https://example.com/\t", "space"),
        ("https://example.com/" + "a" * 2048, "longer"),
        ("https://example.com/" + "\u00fc" * 400, "longer"),
        ("https://" + "a." * 140 + "com/", "longer"),
        ("https://\u2603.example/", "international"),
    ],
)
def test_a_refusal_says_why(url: str, word: str) -> None:
    assert word in refusal(PUBLIC, url)


def test_http_and_other_ports_are_for_what_is_allowed() -> None:
    policy = EgressPolicy.parse(["10.0.0.0/8", "Receiver", "*.Example.internal", "fd00::/8"])
    for allowed in (
        "http://10.1.2.3:9000/",
        "https://10.1.2.3:9000/",
        "http://[fd00::1]:9000/",
        "http://receiver:9000/",
        "http://RECEIVER/",
        "http://a.example.internal:1/",
        "http://b.a.example.INTERNAL/",
    ):
        assert policy.check_url(allowed)
    for refused in (
        "http://11.1.2.3/",
        "http://example.internal/",
        "http://aexample.internal/",
        "http://a.example.internal.evil.example/",
        "http://receiver.evil.example/",
        "https://evil.example:9000/",
        "http://a%2eexample.internal/",
    ):
        assert refusal(policy, refused)


def test_a_clusters_own_networks_can_be_denied() -> None:
    policy = EgressPolicy.parse(["9.9.9.9"], deny=["9.9.0.0/16", "2a00:1::/32"])
    assert "not public" in refusal(policy, "https://9.9.1.1/")
    assert "not public" in refusal(policy, "https://[2a00:1::1]/")
    assert policy.check_url("https://9.9.9.9/")


NEITHER = """|*|*.|10.0.0.1/8|10.0.0.0/33|127.1|0x7f.1|https://a|a:1|a/b|a b|::ffff:10.0.0.0/104|\
::ffff:10.0.0.1|fe80::1%eth0|*.*.a|a.*|[::1]|a.|300"""


@pytest.mark.parametrize("entry", NEITHER.split("|"))
def test_a_wrong_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not a|is neither|must be") as refused:
        EgressPolicy.parse(["example.com", entry])
    assert repr(entry) in str(refused.value)


@pytest.mark.parametrize("entry", ["example.com", "10.0.0.1/8", "*.a", ""])
def test_only_networks_are_denied(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a network") as refused:
        EgressPolicy.parse([], deny=[entry])
    assert repr(entry) in str(refused.value)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(ValueError, match=f"{port} is not a port"):
        EgressPolicy.parse([], ports=[port])


async def answers(policy: EgressPolicy, *addresses: str, host: str = "name.example") -> list[str]:
    names = Names(**{host.partition(".")[0]: list(addresses)})
    found = await policy.resolve(policy.check_url(f"https://{host}/"), names)
    assert names.asked == [(host, 443)]
    return found


async def test_all_answers_are_public_or_there_is_none() -> None:
    assert await answers(PUBLIC, "8.8.8.8", "2606:4700::1") == ["8.8.8.8", "2606:4700::1"]
    mixed = [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "169.254.169.254",
        "fe80::1%eth0",
        "::ffff:7f00:1",
        "?",
    ]
    for bad in mixed:
        for order in ([bad], [bad, "8.8.8.8"], ["8.8.8.8", bad]):
            with pytest.raises(ForbiddenTarget, match=r"^the address is not public$"):
                await answers(PUBLIC, *order)


async def test_what_is_allowed_may_be_answered() -> None:
    networks = EgressPolicy.parse(["10.1.0.0/16"])
    assert await answers(networks, "10.1.0.1", "8.8.8.8") == ["10.1.0.1", "8.8.8.8"]
    with pytest.raises(ForbiddenTarget):
        await answers(networks, "10.1.0.1", "10.2.0.1")
    names = EgressPolicy.parse(["*.allowed.example"])
    assert await answers(names, "10.2.0.1", host="a.allowed.example") == ["10.2.0.1"]
    with pytest.raises(ForbiddenTarget):
        await answers(names, "10.2.0.1", host="allowed.example")


async def test_an_address_is_not_looked_up_yet_checked_again() -> None:
    names = Names()
    target = EgressPolicy.parse(["10.0.0.1"]).check_url("http://10.0.0.1/")
    assert await EgressPolicy.parse(["10.0.0.1"]).resolve(target, names) == ["10.0.0.1"]
    with pytest.raises(ForbiddenTarget):
        await PUBLIC.resolve(target, names)
    assert names.asked == []


async def test_no_answer_is_not_a_refusal() -> None:
    class Broken:
        async def resolve(self, host: str, port: int) -> list[str]:
            raise OSError("no name server")

    target = PUBLIC.check_url("https://name.example/")
    with pytest.raises(Unresolvable, match="has no address"):
        await PUBLIC.resolve(target, Names())
    with pytest.raises(Unresolvable, match="could not be looked up"):
        await PUBLIC.resolve(target, Broken())

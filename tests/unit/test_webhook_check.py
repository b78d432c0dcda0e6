"""Where webhooks may go, as a submit is told: names are looked up seldom and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from api import webhook_check
from api.main import StartRefused, preflight
from api.settings import ApiSettings
from api.webhook_check import NameCheck
from egress.targets import EgressPolicy
from telemetry.settings import SettingsError

PUBLIC = "93.184.215.14"


class Names:
    """A name server that answers as told, and counts."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.begun = asyncio.Event()
        self.away = False
        self.answering = asyncio.Event()
        self.answering.set()

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        self.begun.set()
        await self.answering.wait()
        if self.away:
            raise OSError("no answer")
        return self.known.get(host, [])


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def check(names: Names) -> AsyncIterator[NameCheck]:
    async with NameCheck(EgressPolicy.parse(["10.0.0.0/8"]), names) as made:
        yield made


async def test_a_name_is_looked_up_once(check: NameCheck, names: Names) -> None:
    names.known["a.example"] = [PUBLIC]
    for path in ("x", "y"):
        assert await check.why_not(f"https://a.example/{path}") is None
    names.known["b.example"] = [PUBLIC, "192.168.0.1"]
    for _ in range(2):
        assert await check.why_not("https://b.example/") == "the address is not public"
    assert names.asked == ["a.example", "b.example"]


async def test_an_address_and_a_wrong_url_are_not_looked_up(check: NameCheck, names: Names) -> None:
    assert await check.why_not(f"https://{PUBLIC}/") is None
    assert await check.why_not("http://10.1.2.3:8080/") is None
    assert await check.why_not("https://127.0.0.1/") == "the address is not public"
    assert await check.why_not("http://a.example/") == "the scheme must be https"
    assert names.asked == []


async def test_a_name_nobody_knows_is_let_pass(check: NameCheck, names: Names) -> None:
    assert await check.why_not("https://nobody.example/") is None
    names.away = True
    assert await check.why_not("https://a.example/") is None


async def test_a_slow_name_server_is_waited_for_shortly_and_once(
    check: NameCheck, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_check, "_LOOK_UP_S", 0.01)
    names.answering.clear()
    asked = [check.why_not("https://slow.example/") for _ in range(5)]
    assert await asyncio.gather(*asked) == [None] * 5
    assert await check.why_not("https://slow.example/") is None
    assert names.asked == ["slow.example"]


async def test_a_caller_that_goes_away_ends_nothing_for_others(
    check: NameCheck, names: Names
) -> None:
    names.known["a.example"] = ["127.0.0.1"]
    names.answering.clear()
    first, second = (asyncio.create_task(check.why_not("https://a.example/")) for _ in range(2))
    await names.begun.wait()
    first.cancel()
    names.answering.set()
    assert await second == "the address is not public"


async def test_a_verdict_grows_old(
    check: NameCheck, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_check, "_VERDICT_S", -1.0)
    assert await check.why_not("https://a.example/") is None
    names.known["a.example"] = ["127.0.0.1"]
    assert await check.why_not("https://a.example/") == "the address is not public"


async def test_as_many_names_are_kept_as_there_is_room_for(
    check: NameCheck, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_check, "_MOST_NAMES", 2)
    for host in ("a.example", "b.example", "c.example", "c.example", "b.example", "a.example"):
        await check.why_not(f"https://{host}/")
    assert names.asked == ["a.example", "b.example", "c.example", "a.example"]


async def test_what_is_looked_up_ends_with_the_check(names: Names) -> None:
    names.answering.clear()
    async with NameCheck(EgressPolicy(), names) as check:
        waiting = asyncio.create_task(check.why_not("https://a.example/"))
        await names.begun.wait()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_secret_that_cannot_sign_stops_the_start() -> None:
    with pytest.raises(StartRefused, match="HEADRACE_WEBHOOK_SECRET") as raised:
        await preflight(ApiSettings(webhook_secret=SecretStr("too short")))
    assert "too short" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("WEBHOOK_ALLOW", "10.0.0.1/8"), ("WEBHOOK_DENY", "a.example"), ("WEBHOOK_PORTS", "0")],
)
def test_a_setting_that_is_no_network_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HEADRACE_{name}", value)
    with pytest.raises(SettingsError, match=f"HEADRACE_{name}"):
        ApiSettings.read()

"""What the processes of webhooks read from the environment."""

from __future__ import annotations

import pytest

from jobs.errors import WrongRedis
from telemetry.settings import SettingsError
from webhooks.rq_connection import rq_connection
from webhooks.settings import WebhookSettings


def read(monkeypatch, **settings):
    for name, value in settings.items():
        monkeypatch.setenv(f"HEADRACE_{name.upper()}", value)
    return WebhookSettings.read()


def test_unset_and_empty_are_two_things(monkeypatch):
    assert read(monkeypatch).webhook_allow is None
    assert read(monkeypatch, webhook_allow="").webhook_allow == ()
    assert read(monkeypatch, webhook_allow="10.0.0.0/8, a.b").webhook_allow == ("10.0.0.0/8", "a.b")


def test_ports_are_a_list_of_numbers(monkeypatch):
    assert read(monkeypatch, webhook_ports="443,8443").egress_policy().ports == {443, 8443}
    with pytest.raises(SettingsError, match="HEADRACE_WEBHOOK_PORTS"):
        read(monkeypatch, webhook_ports="443,0")


def test_what_cannot_be_called_or_sign_is_named(monkeypatch):
    with pytest.raises(SettingsError, match="HEADRACE_WEBHOOK_DENY"):
        read(monkeypatch, webhook_deny="10.0.0.0/64")
    with pytest.raises(SettingsError, match="HEADRACE_WEBHOOK_SECRET"):
        read(monkeypatch, webhook_deny="", webhook_secret="short")


def test_rqs_redis_is_the_queues_unless_it_is_set(monkeypatch):
    assert read(monkeypatch, redis_url="redis://q/1").rq_url == "redis://q/1"
    assert read(monkeypatch, rq_redis_url="redis://r/2").rq_url == "redis://r/2"


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:word@host:6380/2",
        "rediss://host",
        "unix:///tmp/r.sock?db=3",
        "redis+sentinel://user:word@one:26379,two:26379/main/1?sentinel_password=other",
        "rediss+sentinel://one,two/main",
    ],
)
def test_rq_gets_a_connection_of_each_kind_and_makes_none_yet(url):
    settings = rq_connection(url).connection_pool.connection_kwargs
    assert settings["socket_timeout"] == 5.0
    if "word" in url:
        assert (settings["username"], settings["password"]) == ("user", "word")


@pytest.mark.parametrize("url", ["redis+cluster://a,b", "http://a", "redis+sentinel://a"])
def test_what_rq_cannot_use_is_refused_by_the_name_of_its_setting(url):
    with pytest.raises(WrongRedis) as refused:
        rq_connection(url)
    assert "HEADRACE_RQ_REDIS_URL" in refused.value.detail

"""HEADRACE_REDIS_URL in all its forms: one server, Sentinels that name it, or a Cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from jobs.errors import WrongRedis
from jobs.wires import wire

#: Scheme -> what it leads to, and the scheme of one server of it.
_SCHEMES = {
    "redis": ("server", "redis"),
    "rediss": ("server", "rediss"),
    "unix": ("server", "unix"),
    "redis+sentinel": ("sentinel", "redis"),
    "rediss+sentinel": ("sentinel", "rediss"),
    "redis+cluster": ("cluster", "redis"),
    "rediss+cluster": ("cluster", "rediss"),
}
_SENTINEL_PORT = 26379
_FORMS = {
    "sentinel": "redis+sentinel://[user:password@]host:26379,host:26379/MASTER[/db]",
    "cluster": "redis+cluster://[user:password@]host:6379,host:6379",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads to, and how a connection to one of its servers is made."""

    #: server, sentinel or cluster.
    kind: str
    url: str
    connection: type[AbstractConnection]
    #: What each connection needs, but for the address where there are several.
    settings: dict[str, Any]
    addresses: tuple[tuple[str, int], ...] = ()
    master: str = ""
    #: What a connection to a Sentinel needs, but for the address.
    sentinel_settings: dict[str, Any] = field(default_factory=dict)


def target_of(url: str, timeout_s: float) -> Target:
    """Read a URL; raises WrongRedis, which says how it has to be written."""
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        shown = ", ".join(f"{known}://" for known in _SCHEMES)
        raise WrongRedis(f"HEADRACE_REDIS_URL begins with {scheme}://; use one of {shown}.")
    kind, single = _SCHEMES[scheme]
    if kind == "server":
        settings = _settings(url, timeout_s)
        return Target(kind, url, wire(settings.pop("connection_class", Connection)), settings)
    split = urlsplit(f"//{rest}")
    user, _, hosts = split.netloc.rpartition("@")
    options = dict(parse_qsl(split.query))
    own = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    default = _SENTINEL_PORT if kind == "sentinel" else 6379
    addresses = tuple(_address(host, default, kind) for host in hosts.split(","))
    master, _, database = split.path.strip("/").partition("/")
    if (kind == "sentinel") != bool(master) or (kind == "cluster" and database):
        raise WrongRedis(f"HEADRACE_REDIS_URL is written {_FORMS[kind]}.")
    user = f"{user}@" if user else ""
    query = f"?{urlencode(options)}" if options else ""
    settings = _settings(f"{single}://{user}host:1/{database or 0}{query}", timeout_s)
    connection = wire(settings.pop("connection_class", Connection))
    shared = {
        name: value
        for name, value in settings.items()
        if name.startswith(("ssl", "socket", "retry"))
    }
    return Target(kind, url, connection, settings, addresses, master, {**shared, **own})


def _settings(url: str, timeout_s: float) -> dict[str, Any]:
    try:
        given = parse_url(url)
    except ValueError as error:
        raise WrongRedis(f"HEADRACE_REDIS_URL cannot be read: {error}") from error
    # The library never retries by itself: it does not know whether a lost reply may be repeated.
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        **given,
    }


def _address(text: str, default: int, kind: str) -> tuple[str, int]:
    try:
        split = urlsplit(f"//{text}")
        host, port = split.hostname, split.port or default
    except ValueError:
        host, port = None, 0
    if not host:
        raise WrongRedis(f"HEADRACE_REDIS_URL has no host in {text!r}; write {_FORMS[kind]}.")
    return host, port

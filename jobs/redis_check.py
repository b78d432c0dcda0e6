"""Whether a server can keep the promise; what is wrong is named with what mends it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from redis import exceptions

from jobs import scripts
from jobs.errors import NotDurable, WrongRedis
from jobs.node import Node

_OLDEST = {"redis_version": ("Redis", (7, 0)), "valkey_version": ("Valkey", (7, 2))}
_SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync", "no-appendfsync-on-rewrite")
#: What is asked of Redis outside of scripts, for an account with few rights.
_PLAIN = (
    *(
        "exists",
        "get",
        "hdel",
        "hget",
        "hgetall",
        "hset",
        "hsetnx",
        "incr",
        "incrby",
        "info",
        "ping",
        "subscribe",
    ),
    *("time", "wait", "xread", "xrevrange", "zrevrangebylex"),
)
_CALLED = re.compile(r"redis\.call\('([A-Z]+)'|in_pieces\('([A-Z]+)'")

#: Answers the commands that this account may not use. The arguments are none of a real call: each
#: is a name as our keys and channels have it.
_MAY = """
local missing = {}
for i = 2, #ARGV do
  local name, first = ARGV[i], ARGV[1]
  local known, may = pcall(redis.acl_check_cmd, name, first, first, first, first)
  if not known then known, may = pcall(redis.acl_check_cmd, name) end
  if known and not may then missing[#missing + 1] = name end
end
return missing
"""


def needed_commands() -> list[str]:
    """Return every command that an account needs for Headrace."""
    loaded = [value for value in vars(scripts).values() if isinstance(value, scripts.Script)]
    called = {
        name.lower()
        for script in loaded
        for found in _CALLED.findall(script.body.decode())
        for name in found
        if name
    }
    return sorted({*called, *_PLAIN})


async def check_server(node: Node, kind: str, durability: str, namespace: str) -> list[str]:
    """Check one server; return what could not be checked, or raise WrongRedis."""
    try:
        server = await node.client.info()
        _check_kind(server, kind)
        await _check_rights(node, namespace)
    except exceptions.AuthenticationError as error:
        raise WrongRedis(
            f"Redis refuses the user or password in HEADRACE_REDIS_URL: {error}"
        ) from error
    except exceptions.NoPermissionError as error:
        raise WrongRedis(
            f"The Redis user of HEADRACE_REDIS_URL lacks a right: {error}. "
            f"Run: ACL SETUSER <user> {_rights(needed_commands(), namespace)}"
        ) from error
    warnings = []
    if durability == "replicated":
        try:
            check_replicas(node, server)
        except NotDurable as error:
            warnings.append(error.detail)
    try:
        config = cast(dict[str, str], await node.client.config_get(*_SETTINGS))
    except exceptions.ResponseError:
        config = {}
    if not config:
        warnings.append(f"durability {durability!r} is unverified: this Redis hides its settings")
        # Whether it evicts is told all the same.
        config = {"maxmemory-policy": server.get("maxmemory_policy", "noeviction")}
        durability = ""
    _check_settings(config, durability)
    return warnings


async def _check_rights(node: Node, namespace: str) -> None:
    prefix = f"{namespace}:{{s000}}:"
    missing = await node.calls.send(("EVAL", _MAY, 0, prefix, *needed_commands()))
    if missing:
        names = sorted(name.decode() for name in missing)
        raise WrongRedis(
            f"The Redis user of HEADRACE_REDIS_URL may not use {', '.join(names).upper()}. "
            f"Run: ACL SETUSER <user> {_rights(names, namespace)}"
        )


def _rights(names: list[str], namespace: str) -> str:
    return f"~{namespace}:* &{namespace}:* " + " ".join(f"+{name}" for name in names)


def _check_kind(server: Mapping[str, Any], kind: str) -> None:
    name = "valkey_version" if "valkey_version" in server else "redis_version"
    product, oldest = _OLDEST[name]
    version = str(server[name])
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < oldest:
        needed = ".".join(str(part) for part in oldest)
        raise WrongRedis(
            f"{product} {version} is too old; Headrace needs Redis 7.0 or Valkey 7.2. "
            f"Upgrade it to {needed} or newer."
        )
    clustered = server.get("redis_mode", server.get("server_mode")) == "cluster"
    if clustered and kind != "cluster":
        raise WrongRedis(
            "This Redis is a node of a Cluster. Write HEADRACE_REDIS_URL=redis+cluster://host:port"
        )
    if server.get("role") in {"slave", "replica"}:
        master = f"{server.get('master_host')}:{server.get('master_port')}"
        raise WrongRedis(
            f"This Redis is a replica of {master} and takes no writes. Give the master in "
            "HEADRACE_REDIS_URL, or redis+sentinel://host:port/name for one that may change."
        )


def check_replicas(node: Node, server: Mapping[str, Any]) -> None:
    """Raise NotDurable unless a replica is connected to this master."""
    count = int(server.get("connected_slaves", 0))
    states = [server.get(f"slave{number}") for number in range(count)]
    if not any(isinstance(each, dict) and each.get("state") == "online" for each in states):
        here = node.address.replace(":", " ")
        raise NotDurable(
            "HEADRACE_DURABILITY is replicated, but no replica is connected to this Redis: nothing "
            f"can be accepted. On another one run: REPLICAOF {here}",
            retry_after_s=5,
        )


def _check_settings(config: Mapping[str, str], durability: str) -> None:
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise WrongRedis(
            f"Redis would evict jobs (maxmemory-policy {policy}). "
            "Run: CONFIG SET maxmemory-policy noeviction"
        )
    if durability not in {"always", "everysec"}:
        return
    if config.get("appendonly") != "yes":
        raise WrongRedis(
            "Redis keeps nothing on disk (appendonly no). Run: CONFIG SET appendonly yes"
        )
    sync = config.get("appendfsync")
    if durability == "always" and sync != "always":
        raise WrongRedis(
            f"HEADRACE_DURABILITY is always, but Redis has appendfsync {sync}. "
            "Run: CONFIG SET appendfsync always, or set HEADRACE_DURABILITY=everysec"
        )
    if sync == "no":
        raise WrongRedis(
            "Redis leaves it to the system when to write to disk (appendfsync no). "
            "Run: CONFIG SET appendfsync everysec"
        )
    if durability == "always" and config.get("no-appendfsync-on-rewrite") == "yes":
        raise WrongRedis(
            "Redis does not sync to disk while it rewrites its file (no-appendfsync-on-rewrite "
            "yes). Run: CONFIG SET no-appendfsync-on-rewrite no"
        )

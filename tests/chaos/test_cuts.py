"""The talk with Redis is cut at every command of every script, both ways: nothing is lost by it.

Each role has a proxy of its own. While a small workload goes on, every script and every other
command that the role sends is cut once at each of four places. Then the ledgers, the model's side
log and the audit must agree: with cuts alone, no job may even run twice.
"""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.chaos.points import WHERE, Point
from headrace.chaos.process import until
from headrace.chaos.resp import MESSAGE, SCRIPT_NAMES
from jobs.connection import SOCKET_TIMEOUT_S

from .cutting import Bench
from .passing import Passing
from .sizes import report, seed, size
from .steady import Crowd, Steady, judge
from .test_webhook_cuts import SENT_FOR_WEBHOOKS

CLIENTS = 3
#: So many pairs of points wait for their moment at once.
DRIVERS = 4
#: A message that comes so late was given up before.
LATE_S = SOCKET_TIMEOUT_S + 0.5
#: Those about deliveries are cut in test_webhook_cuts.py.
SCRIPTS = set(SCRIPT_NAMES.values()) - SENT_FOR_WEBHOOKS
#: What a role sends only after a cut; what it sends only at its start and end: see passing.py.
AFTER_A_CUT = {
    "api": {MESSAGE, "HELLO", "CLIENT SETINFO", "SUBSCRIBE", "SCRIPT LOAD", "BGREWRITEAOF"},
    "steady": {"HELLO", "CLIENT SETINFO", "XREVRANGE", "SCRIPT LOAD", "hand_back"},
}
#: What `replicated` adds, and what it is added to.
CONFIRMED_BY_API = {"submit", "read", "cancel", "delete", "EVAL", "WAIT"}
CONFIRMED_BY_WORKER = {"settle", "claim", "start", "EVAL", "WAIT"}


@pytest.mark.timeout(900)
def test_every_point_is_cut_once() -> None:
    with Bench() as bench:
        quiet = bench.median_probe()
        crowd = Crowd(bench.api.url, bench.folder, CLIENTS)
        all_has_happened(bench, crowd)
        passing = Passing(bench)
        passing.start()
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda role: fire_all(bench, role), ("api", "steady")))
        passing.join()
        crowd.stop()
        bench.fire_audit()
        clients = [*crowd.clients, passing.client]
        wrong = [passing.error] if passing.error else []
        wrong += uncut(bench)
        verdict(bench, crowd, clients, quiet, gate="cuts", wrong=wrong, kills=passing.kills)


@pytest.mark.timeout(2400)
def test_random_pairs_of_cuts() -> None:
    pairs, chosen = size("cut_pairs"), seed()
    # The default limit. A call and its connection's first words, each held up until given up, are
    # more than six seconds without a beat: the worker would be buried, and rightly.
    with Bench(beat_limit_s=10) as bench:
        quiet = bench.median_probe()
        crowd = Crowd(bench.api.url, bench.folder, CLIENTS)
        all_has_happened(bench, crowd)
        with ThreadPoolExecutor(DRIVERS) as several:
            chances = [random.Random(f"{chosen}-{number}") for number in range(DRIVERS)]
            fired = sum(several.map(lambda one: fire_pairs(bench, one, pairs // DRIVERS), chances))
        crowd.stop()
        # A second point may wait for what the first has prevented; as many more pairs are tried.
        bench.missed.clear()
        wrong = [] if fired == pairs else [f"{fired} of {pairs} pairs fell"]
        verdict(
            bench,
            crowd,
            crowd.clients,
            quiet,
            gate="cuts_pairs",
            wrong=wrong,
            pairs=fired,
            seed=chosen,
        )


@pytest.mark.timeout(600)
def test_every_point_of_a_confirmed_write_is_cut_once() -> None:
    with Bench(replicated=True) as bench:
        quiet = bench.median_probe()
        crowd = Crowd(bench.api.url, bench.folder, CLIENTS)
        all_has_happened(bench, crowd)
        with ThreadPoolExecutor(2) as both:
            ways = (("api", CONFIRMED_BY_API), ("steady", CONFIRMED_BY_WORKER))
            list(both.map(lambda way: fire_names(bench, *way), ways))
        crowd.stop()
        verdict(bench, crowd, crowd.clients, quiet, gate="cuts_replicated", wrong=[])


def all_has_happened(bench: Bench, crowd: Crowd) -> None:
    """Wait until each role has said whatever it says: only what was heard is cut."""

    def has() -> bool:
        return bool(crowd.errors) or (crowd.laps >= CLIENTS and bench.all_said())

    until(has, 120, "everything has happened")


def fire_pairs(bench: Bench, chance: random.Random, count: int) -> int:
    """Cut at two points drawn by chance, together; return how many pairs fell."""
    seen = {role: sorted({*bench.proxies[role].seen} - {"TIME"}) for role in ("api", "steady")}
    fired = 0
    for _ in range(2 * count):
        points = [
            (role, drawn(chance, seen[role])) for role in chance.choices(("api", "steady"), k=2)
        ]
        if any(p.name == MESSAGE and p.where in WHERE[:2] for _, p in points):
            continue
        fired += bench.fire(*points)
        bench.probe()
        if fired == count:
            break
    return fired


def drawn(chance: random.Random, names: list[str]) -> Point:
    """Draw a point; one of five holds the message up, also until nobody waits for it any more."""
    delay_s = chance.choice((None, None, None, None, None, None, None, None, 0.3, LATE_S))
    name, where, nth = chance.choice(names), chance.choice(WHERE), chance.choice((1, 1, 2))
    return Point(name, where, nth, delay_s)


def fire_all(bench: Bench, role: str) -> None:
    """Cut once wherever what this role sends, or is sent, can be cut."""
    fire_names(bench, role, {*bench.proxies[role].seen, *AFTER_A_CUT[role]})


def fire_names(bench: Bench, role: str, names: set[str]) -> None:
    """Cut at each place of each of these; after each cut, a job must go the whole way."""
    for where in WHERE:
        for name in sorted(names):
            if name != MESSAGE or where in WHERE[2:]:
                bench.fire((role, Point(name, where)))
                bench.probe()


def uncut(bench: Bench) -> list[str]:
    """Name every point of a script, or of a command that anything sent, that was never cut."""
    proxies = bench.proxies.values()
    cut = {(fault.name, fault.where) for proxy in proxies for fault in proxy.faults}
    seen = {name for proxy in proxies for name in proxy.seen} - {MESSAGE}
    names = SCRIPTS | seen | bench.beginning
    return [
        f"never cut: {name} {w}" for name in sorted(names) for w in WHERE if (name, w) not in cut
    ]


def verdict(
    bench: Bench,
    crowd: Crowd,
    clients: list[Steady],
    quiet: float,
    *,
    gate: str,
    wrong: list[str],
    kills: int = 0,
    seed: int | None = None,
    **counts: Any,
) -> None:
    """Say how it went, and fail unless all went well."""
    after = bench.median_probe()
    faults = [fault for proxy in bench.proxies.values() for fault in proxy.faults]
    cut = {(fault.name, fault.where) for fault in faults}
    bad: dict[str, Any] = {
        **judge(clients, bench.side_log),
        "wrong": [*wrong, *crowd.errors, *bench.said_wrong()],
        # What one role sends once in a while, another may send at its start.
        "missed": sorted(bench.missed - cut),
        "audit": bench.audited(),
        # A worker that hears no bells looks once a second, a waiter that hears nothing every five.
        "deaf": [after] if after > max(0.4, 5 * quiet) else [],
    }
    if kills:
        # A job that was running on a worker that was killed may run again.
        bad.pop("crashes")
    bench.emptied()
    bad["audit"] += bench.audited()
    bad = {name: found for name, found in bad.items() if found}
    report(
        gate,
        not bad,
        seed=seed,
        cuts=len(faults),
        points=len(cut),
        jobs=sum(len(client.ledger.accepted) for client in clients),
        refused=sum(sum(client.ledger.refused.values()) for client in clients),
        laps=crowd.laps,
        kills=kills,
        probe_ms=[round(each * 1000, 1) for each in (quiet, after)],
        **counts,
        **{name: len(found) for name, found in bad.items()},
    )
    assert not bad, json.dumps(bad, indent=1, default=str)[:9000]

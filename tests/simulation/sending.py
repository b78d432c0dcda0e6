"""What senders may do with events and deliveries, and administrators about them."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from jobs import scripts

from .accounts import Call
from .draws import FATES, POSTS, SENDERS, SHARDS, WHICH
from .fleet import driven
from .senders import LEASE_S, Sender
from .world import World


class Act(NamedTuple):
    """One of them; `which` decides what the rest does not."""

    what: str
    who: int
    shard: int
    which: int
    verdict: str
    retry_ms: int


WHATS = (
    *("lease", "lease", "tell", "tell", "tell", "repeat", "stale", "release"),
    *("post again", "wait", "replay", "enable", "erase"),
)
ACTS = st.builds(
    Act,
    what=st.sampled_from(WHATS),
    who=SENDERS,
    shard=SHARDS,
    which=WHICH,
    verdict=st.sampled_from(["delivered", "retry", "retry", "failed", "gone", "back"]),
    retry_ms=st.sampled_from([500, 5_000, 86_400_000]),
)


def perform(world: World, act: Act) -> None:
    """Do it, on a shard that has deliveries."""
    able = [shard for shard, books in world.link.shards.items() if books.deliveries]
    if not able:
        return
    shard = able[act.shard % len(able)]
    kept = list(world.link.shards[shard].deliveries.values())
    call, sender = kept[-1 - act.which % len(kept)], world.senders[act.who]
    if act.what in ("tell", "repeat", "stale"):
        _tell(world, shard, act)
    elif act.what == "lease":
        room = {call.endpoint: act.which % 4} if act.which > 127 else {}
        sender.lease(shard, 1 + act.which % 8, room)
    elif act.what == "release":
        driven(sender.outbox.release(shard, 1 + act.which % 8))
    elif act.what == "post again":
        sender.post_again()
    elif act.what == "wait":
        # Every lease runs out.
        world.pass_time(int(LEASE_S * 1000) + 1)
    else:
        _help(world, shard, act, call)


def _tell(world: World, shard: int, act: Act) -> None:
    sender: Sender = world.senders[act.who]
    if act.what == "repeat":
        sender.settle(shard, sender.last.get(shard, []))
        return
    if act.what == "tell" and (act.which & 32 or not sender.hands.get(shard)):
        sender.lease(shard, 1 + act.which % 8, {})
    chosen = sender.chosen(shard, act.which, stale=act.what == "stale")
    results = [sender.result(each, act.verdict, world.now, act.retry_ms) for each in chosen]
    sender.settle(shard, results)


def _help(world: World, shard: int, act: Act, call: Call) -> None:
    if act.what == "replay":
        tenant = call.tenant if act.which % 8 else "nobody"
        world.on_one(shard, scripts.REPLAY, call.id, call.owner, tenant)
    elif act.what == "enable":
        world.on_one(shard, scripts.ENDPOINTS, call.endpoint if act.which % 4 else "")
    else:
        world.on_one(shard, scripts.UNCALL, call.id)


def has_untold(world: World) -> bool:
    """Some event waits, or some sender may repeat itself."""
    books = world.link.shards.values()
    return any(b.outbox for b in books) or any(each.posted for each in world.senders)


def has_calls(world: World) -> bool:
    """Some delivery is kept."""
    return any(books.deliveries for books in world.link.shards.values())


def has_sent(world: World) -> bool:
    """Some job was submitted."""
    return bool(world.ids)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


class Sending(World):
    """What senders, administrators and the network may do."""

    @precondition(has_untold)
    @rule(who=SENDERS, shard=SHARDS, most=st.sampled_from([20, 3, 1]), how=POSTS,
          again=st.booleans(), fate=FATES)  # fmt: skip
    def post(self, who: int, shard: int, most: int, how: str, again: bool, fate: str) -> None:
        """A sender takes the oldest events, or those that it saw before, or repeats itself."""
        sender, at = self.senders[who], self.shards[shard % len(self.shards)]
        with self.fate(fate):
            if again and sender.posted and how != "leave":
                sender.post_again()
                return
        if not again or not sender.seen.get(at):
            sender.look(at, most)
        with self.fate(fate):
            sender.post(at, how)

    @precondition(has_calls)
    @rule(acts=st.lists(ACTS, min_size=1, max_size=4), fate=FATES)
    def send(self, acts: list[Act], fate: str) -> None:
        """Senders lease deliveries and tell what came of them; an administrator helps."""
        with self.fate(fate):
            for act in acts:
                perform(self, act)

    @precondition(has_sent)
    @rule(which=WHICH)
    def late_packet(self, which: int) -> None:
        """A call that was lost, or one that was not, arrives (again)."""
        packet = self.link.sent[-1 - which % len(self.link.sent)]
        # A job cannot come again while its last events are told: no packet is late by so much.
        gone = {each for books in self.link.shards.values() for each in books.gone}
        if packet.name != "submit" or gone.isdisjoint(filter(_is_text, packet.given)):
            self.link.deliver(packet)

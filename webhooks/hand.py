"""The deliveries that this sender holds: whose turn it is, and how many more it can take."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from jobs.webhook import Delivery
from webhooks.breaker import MOST_AT_ONCE, Breaker

#: Tries under way in all, and deliveries held in all.
MOST_UNDER_WAY, MOST_HELD = 512, 2048
#: Deliveries of an endpoint that may wait beside those under way, so that none of its connections
#: stands idle for a round trip to Redis.
MOST_WAITING = 64
#: What one call may take for an endpoint of which nothing is held.
EACH = MOST_AT_ONCE + MOST_WAITING
#: A slow endpoint has no more waiting than it takes within this time: a lease does not last long.
_AHEAD_S = 5.0
_MOST_SLOW = 4096
#: What a crowd, all endpoints of one tenant at one host, may have of either: many paths of a slow
#: receiver are many endpoints, and together they must not take all there is.
_CROWD_SHARE = 4


@dataclass(slots=True, eq=False)
class Held:
    """A delivery, where it is from, and until when (on the loop's clock) it is surely ours."""

    shard: int
    delivery: Delivery
    until: float


@dataclass(slots=True)
class _Crowd:
    held: int = 0
    under_way: int = 0
    #: Endpoints that could go on, had their crowd not all it may have.
    parked: OrderedDict[str, None] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class _Line:
    crowd: str
    waiting: deque[Held] = field(default_factory=deque)
    under_way: int = 0

    def __len__(self) -> int:
        return len(self.waiting) + self.under_way


class Hand:
    """Endpoints take turns, so that a busy or slow one delays nobody else."""

    def __init__(
        self, breaker: Breaker, *, under_way: int = MOST_UNDER_WAY, held: int = MOST_HELD
    ) -> None:
        self._breaker = breaker
        self._most_under_way = under_way
        self._most_held = held
        self._most_of_crowd_under_way = max(MOST_AT_ONCE, under_way // _CROWD_SHARE)
        self._most_of_crowd_held = max(EACH, held // _CROWD_SHARE)
        self._lines: dict[str, _Line] = {}
        self._crowds: dict[str, _Crowd] = {}
        #: Endpoints that can go on at once, in the order of their turns.
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._slow: OrderedDict[str, float] = OrderedDict()
        self._held = 0
        self.under_way = 0

    def __len__(self) -> int:
        return self._held

    @property
    def room(self) -> int:
        """How many more deliveries can be held."""
        return max(0, self._most_held - self._held)

    def room_of(self, endpoint: str) -> int:
        """Return how many more deliveries of an endpoint can be held."""
        most = self._breaker.most(endpoint)
        if not self._breaker.failing(endpoint):
            pace_s = self._slow.get(endpoint, 0.0)
            most += int(most * _AHEAD_S / pace_s) if pace_s else MOST_WAITING
        line = self._lines.get(endpoint)
        return max(0, min(most, EACH) - (len(line) if line else 0))

    def rooms(self) -> dict[str, int]:
        """Return the room of each endpoint that has less of it than one that is not known."""
        known = {*self._lines, *self._breaker, *self._slow}
        rooms = ((endpoint, self.room_of(endpoint)) for endpoint in known)
        return {endpoint: room for endpoint, room in rooms if room < EACH}

    def waiting(self, endpoint: str) -> int:
        """Return how many deliveries of an endpoint wait for their turn."""
        line = self._lines.get(endpoint)
        return len(line.waiting) if line else 0

    def put(self, held: Held) -> bool:
        """Take a delivery; False where its endpoint is left alone now.

        One of a crowd that has all it may have is let go without a word: it is due again when its
        lease runs out. Given back it would come again at once, before all others.
        """
        endpoint = held.delivery.endpoint
        if self._breaker.most(endpoint) == 0:
            return False
        name = _crowd_of(held.delivery)
        crowd = self._crowds.setdefault(name, _Crowd())
        if crowd.held >= self._most_of_crowd_held:
            return True
        line = self._lines.setdefault(endpoint, _Line(name))
        line.waiting.append(held)
        self._held += 1
        crowd.held += 1
        self._stand_in_line(endpoint, line)
        return True

    def next(self) -> Held | None:
        """Return what is to be tried now, and count it as under way; `done` must follow."""
        while self._turns and self.under_way < self._most_under_way:
            endpoint, _ = self._turns.popitem(last=False)
            line = self._lines.get(endpoint)
            if line is None or not self._may_go(endpoint, line):
                continue
            crowd = self._crowds[line.crowd]
            if crowd.under_way >= self._most_of_crowd_under_way:
                crowd.parked[endpoint] = None
                continue
            held = line.waiting.popleft()
            line.under_way += 1
            crowd.under_way += 1
            self.under_way += 1
            self._stand_in_line(endpoint, line)
            return held
        return None

    def done(self, held: Held, seconds: float | None = None) -> None:
        """Count a try as over; `seconds` is how long the endpoint took, where it was reached."""
        endpoint = held.delivery.endpoint
        line = self._lines[endpoint]
        crowd = self._crowds[line.crowd]
        line.under_way -= 1
        crowd.under_way -= 1
        self.under_way -= 1
        if crowd.parked:
            self._turns[crowd.parked.popitem(last=False)[0]] = None
        if seconds is not None:
            self._note_pace(endpoint, seconds)
        self._stand_in_line(endpoint, line)
        self._drop_if_empty(endpoint, line)
        self._less_held(line.crowd, 1)

    def give_up(self, endpoint: str) -> list[Held]:
        """Let go of what waits for an endpoint, and return it."""
        line = self._lines.get(endpoint)
        if line is None:
            return []
        waiting = list(line.waiting)
        line.waiting.clear()
        self._crowds[line.crowd].parked.pop(endpoint, None)
        self._less_held(line.crowd, len(waiting))
        self._turns.pop(endpoint, None)
        self._drop_if_empty(endpoint, line)
        return waiting

    def give_up_all(self) -> list[Held]:
        """Let go of all that waits, and return it."""
        return [held for endpoint in list(self._lines) for held in self.give_up(endpoint)]

    def _may_go(self, endpoint: str, line: _Line) -> bool:
        return bool(line.waiting) and line.under_way < self._breaker.most(endpoint)

    def _less_held(self, name: str, by: int) -> None:
        crowd = self._crowds[name]
        crowd.held -= by
        self._held -= by
        if not crowd.held:
            del self._crowds[name]

    def _stand_in_line(self, endpoint: str, line: _Line) -> None:
        if endpoint in self._turns or endpoint in self._crowds[line.crowd].parked:
            return
        if self._may_go(endpoint, line):
            self._turns[endpoint] = None

    def _drop_if_empty(self, endpoint: str, line: _Line) -> None:
        if not len(line):
            del self._lines[endpoint]

    def _note_pace(self, endpoint: str, seconds: float) -> None:
        pace_s = 0.7 * self._slow.pop(endpoint, 0.0) + 0.3 * seconds
        # One that takes all that may wait in that time need not be remembered.
        if pace_s > MOST_AT_ONCE * _AHEAD_S / MOST_WAITING:
            self._slow[endpoint] = pace_s
            if len(self._slow) > _MOST_SLOW:
                self._slow.popitem(last=False)


def _crowd_of(delivery: Delivery) -> str:
    # Of a URL that was checked, before its path: scheme, host and port.
    origin = "/".join(delivery.url.split("/", 3)[:3])
    return f"{delivery.tenant} {origin}"

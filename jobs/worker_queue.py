"""The queue as a worker sees it: claim, start, settle, hand back, beat, adopt."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from jobs import scripts
from jobs.adoption import Adopted, Unbroken, adopt, adopted_from
from jobs.bells import Bell, listen
from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.errors import NotDurable, QueueUnavailable
from jobs.following import Served, follow
from jobs.ids import shard_of
from jobs.policy import QueueOptions
from jobs.sweeping import sweep
from jobs.work import BeatAnswer, Claimed, HandBack, Outcome, claimed_from

__all__ = ["BeatAnswer", "Claimed", "HandBack", "Outcome", "WorkerQueue"]

#: Bytes of inputs after which the claim script takes no more, so that its answer is bounded.
_CLAIM_BYTES = 2 << 20


class WorkerQueue:
    """One worker's side of the queue for one model version.

    Methods raise QueueUnavailable when Redis gives no answer; what happened then is unknown, and
    start, settle and hand back may be repeated as they are. A claim is not repeated: the beats
    find what a lost answer left behind.
    """

    def __init__(
        self,
        connections: RedisConnections,
        options: QueueOptions,
        *,
        model: str,
        version: str,
        shards: Sequence[int],
        worker: str,
    ) -> None:
        self._connections = connections
        self._options = options
        self._model = model
        self._version = version
        #: Those of its own card; `_shards` are these and all that other cards have named.
        self._home = list(shards)
        self._shards = list(shards)
        self._cards = CardStore(connections)
        self._cards_revision = -1
        #: The version that unpinned submits get, and all others but its own.
        self._production = ""
        self._others: list[str] = []
        self._worker = worker
        self._record: list[str] = []
        self._turn = 0
        self._suspect_unheld: set[str] = set()
        self._suspect_lost: set[str] = set()
        self._unbroken = Unbroken()
        self.life = self._new_life()
        #: What was adopted as this life entered shards, until `register` or `adopt` tells of it.
        self._entered: list[Adopted] = []
        #: Jobs that claims have found past their deadline, and ended.
        self.expired = 0
        #: The last claim gave so many bytes of inputs that it may have left jobs behind.
        self.cut = False
        #: Claims say what each job's trace is.
        self.traced = False

    def _new_life(self) -> str:
        return f"{self._worker}:{secrets.token_hex(6)}"

    async def register(self, info: Mapping[str, str]) -> list[Adopted]:
        """Begin a new life; earlier lives of the same name are buried in the same step."""
        self._record = ["model", self._model, "version", self._version]
        for name, value in info.items():
            self._record += [name, value]
        shards = await self._served()
        self.life = self._new_life()
        await self._enter(shards)
        # In place: who listens to the bells holds this list.
        self._shards[:] = shards
        adopted, self._entered = self._entered, []
        return adopted

    async def _enter(self, shards: Sequence[int]) -> None:
        for shard in shards:
            args = [self.life, self._worker, *self._record]
            # Kept although a later shard may fail: nobody is told of it again.
            self._entered += adopted_from(await self._run(scripts.REGISTER, shard, args))

    async def _served(self) -> list[int]:
        """Find every shard that may hold a job of this model: its number may have changed."""
        self._cards_revision = await self._cards.revision()
        entries = [each for each in await self._cards.entries() if each.model == self._model]
        self._others = [each.version for each in entries if each.version != self._version]
        self._production = (await self._cards.production()).get(self._model, "")
        found = {shard for each in entries for shard in each.served} - {*self._home}
        return [*self._home, *sorted(found)]

    async def _follow_cards(self) -> None:
        """Live on shards, too, that another worker's card has named since."""
        known = self._cards_revision
        try:
            if known == await self._cards.revision():
                return
            fresh = [shard for shard in await self._served() if shard not in self._shards]
            await self._enter(fresh)
        except QueueUnavailable:
            # The cards' server may be another than those of the shards, which must go on.
            self._cards_revision = known
            return
        self._shards += fresh

    async def _run(self, script: scripts.Script, shard: int, args: Sequence[Any]) -> Any:
        return await self._connections.run(script, shard, [*self._options.policy, *args])

    async def claim(self, count: int, *, start: bool = False, steal: bool = False) -> list[Claimed]:
        """Take up to `count` jobs; with `start` they are running at once.

        `steal` lets an idle worker take what another has claimed but not started. An empty list
        also when this life was buried: the next beat says so.
        """
        flags = ["1" if start else "0", "1" if steal else "0", *(["1"] if self.traced else [])]
        # Another shard first each time, so that none is served only from what others leave.
        self._turn += 1
        claimed: list[Claimed] = []
        failures = []
        self.cut = False
        for step in range(len(self._shards)):
            shard = self._shards[(self._turn + step) % len(self._shards)]
            args = [self.life, self._model, self._version, count - len(claimed), *flags]
            try:
                _, rows, expired = await self._run(scripts.CLAIM, shard, args)
            except QueueUnavailable as error:
                # What other shards gave is here and must be kept; their servers may be well.
                failures.append(error)
                continue
            self.expired += expired
            claimed += [claimed_from(row) for row in rows]
            self.cut = sum(len(job.input) for job in claimed) >= _CLAIM_BYTES
            if len(claimed) >= count or self.cut:
                break
        if len(failures) == len(self._shards):
            raise failures[0]
        return claimed

    async def start(self, jobs: Sequence[Claimed]) -> dict[str, str]:
        """Make the jobs of one batch running; return ok, canceled, expired or lost for each."""
        items = [(job.id, (job.id, job.token)) for job in jobs]
        return await self._each(scripts.START, items, [len(jobs)])

    async def settle(self, outcomes: Sequence[Outcome]) -> dict[str, str]:
        """Record outcomes; return ok, retry, canceled, already or stale for each."""
        return await self._each(scripts.SETTLE, [(each.id, each.args()) for each in outcomes], [])

    async def hand_back(self, jobs: Sequence[HandBack]) -> dict[str, str]:
        """Give jobs up; return ok, poisoned, canceled or stale for each."""
        return await self._each(scripts.HAND_BACK, [(each.id, each.args()) for each in jobs], [])

    async def progress(self, jobs: Sequence[tuple[str, str, bytes]]) -> None:
        """Store what running jobs tell of themselves: (id, token, JSON) each."""
        items = [(each[0], each) for each in jobs]
        for shard, group in _by_shard(items).items():
            args = [self.life, *(value for _, values in group for value in values)]
            await self._run(scripts.PROGRESS, shard, args)

    async def _each(
        self,
        script: scripts.Script,
        items: Sequence[tuple[str, tuple[Any, ...]]],
        header: Sequence[Any],
    ) -> dict[str, str]:
        groups = _by_shard(items)
        args = {
            shard: [self.life, *header, *(value for _, values in group for value in values)]
            for shard, group in groups.items()
        }
        answers = await self._run_each(script, args)
        verdicts: dict[str, str] = {}
        for shard, group in groups.items():
            for (identifier, _), verdict in zip(group, answers[shard], strict=True):
                verdicts[identifier] = verdict.decode()
        return verdicts

    async def _run_each(
        self, script: scripts.Script, args: Mapping[int, Sequence[Any]]
    ) -> dict[int, Any]:
        """Run a script on every shard although one fails; raise what that one met afterwards."""
        answers, failure = await self._run_all(script, args)
        if failure is not None:
            raise failure
        return answers

    async def _run_all(
        self, script: scripts.Script, args: Mapping[int, Sequence[Any]]
    ) -> tuple[dict[int, Any], QueueUnavailable | NotDurable | None]:
        given = {shard: [*self._options.policy, *own] for shard, own in args.items()}
        return await self._connections.run_each(script, given)

    async def beat(
        self, held: Iterable[str], *, state: str, reason: str = "", stats: Mapping[str, str]
    ) -> BeatAnswer:
        """Say that this life goes on, what it holds and how it does.

        Raises only where no shard answered; else the answer has the `failure` of those that did
        not.
        """
        # Its clock, so that a look from outside sees how far it is from Redis'.
        pairs = ["state", state, "reason", reason, "clock", f"{time.time():.3f}"]
        for name, value in stats.items():
            pairs += [name, value]
        named = _by_shard([(identifier, (identifier,)) for identifier in held])
        unheld: dict[str, str] = {}
        canceling: list[str] = []
        lost: set[str] = set()
        args = {
            shard: [self.life, len(pairs) // 2, *pairs, *(i for i, _ in named.get(shard, []))]
            for shard in self._shards
        }
        # A shard whose server is away must not cost this life its place in the others, nor leave
        # there what a lost answer gave it.
        answers, failure = await self._run_all(scripts.BEAT, args)
        if failure is not None and not answers:
            raise failure
        for alive, owned, ending, gone in answers.values():
            if not alive:
                return BeatAnswer(buried=True, failure=failure)
            text = [item.decode() for item in owned]
            unheld.update(zip(text[::2], text[1::2], strict=True))
            canceling += [identifier.decode() for identifier in ending]
            lost |= {identifier.decode() for identifier in gone}
        answer = BeatAnswer(
            owned_not_held=[(i, t) for i, t in unheld.items() if i in self._suspect_unheld],
            canceling=canceling,
            lost=sorted(lost & self._suspect_lost),
            failure=failure,
        )
        # What a silent shard said last time stands until it speaks again.
        self._suspect_unheld = {*unheld, *_of_others(self._suspect_unheld, answers)}
        self._suspect_lost = {*lost, *_of_others(self._suspect_lost, answers)}
        return answer

    async def sweep(self) -> list[tuple[str, str]]:
        """Do what is due on this model's shards; return model and version of what expired."""
        await self._follow_cards()
        return await sweep(self._connections, self._options, self._shards)

    async def follow(self) -> int:
        """Take over what waits for versions that nobody serves; return how many jobs moved."""
        if not self._others:
            return 0
        served = Served(self.life, self._model, self._version, self._production, self._others)
        return await follow(self._connections, self._options, self._shards, served)

    async def adopt(self) -> list[Adopted]:
        """Bury lives whose beats stopped and return their jobs to the line; call each second."""
        entered, self._entered = self._entered, []
        try:
            found = await adopt(self._connections, self._options, self._shards, self._unbroken)
        except QueueUnavailable:
            self._entered[:0] = entered
            raise
        return entered + found

    def listen(self) -> AsyncIterator[Bell]:
        """Yield bells for ever; a `jobs` bell also after each connect, lest one was missed."""
        return listen(self._connections, self._model, self._shards)

    async def leave(self) -> int:
        """End this life in order; what it still owns goes back uncharged, or ends as canceled.

        Returns how many were canceled.
        """
        answers = await self._run_each(
            scripts.LEAVE, {shard: [self.life] for shard in self._shards}
        )
        return sum(int(ended) for ended in answers.values())


def _of_others(identifiers: Iterable[str], answered: Mapping[int, Any]) -> list[str]:
    return [each for each in identifiers if shard_of(each) not in answered]


def _by_shard(
    items: Sequence[tuple[str, tuple[Any, ...]]],
) -> dict[int, list[tuple[str, tuple[Any, ...]]]]:
    groups: dict[int, list[tuple[str, tuple[Any, ...]]]] = {}
    for item in items:
        shard = shard_of(item[0])
        if shard is not None:
            groups.setdefault(shard, []).append(item)
    return groups

"""Workers as they are: the real queue, a view of what they hold, and the habits of the feeder."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from jobs.worker_queue import BeatAnswer, Claimed, HandBack, Outcome, WorkerQueue

Answer = TypeVar("Answer")


def driven(call: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a coroutine that waits for nothing; the wire answers at once."""
    try:
        call.send(None)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    raise AssertionError("a call waits for something that is not Redis")


class NoCards:
    """A store of cards that names no shard beyond a model's own."""

    async def revision(self) -> int:
        """Nothing ever changes."""
        return 0

    async def entries(self) -> list[Any]:
        """There are none."""
        return []

    async def production(self) -> dict[str, str]:
        """None is in production."""
        return {}


class Numbered(WorkerQueue):
    """The real queue, its lives numbered, so that a failing run can be run again."""

    lives = 0

    def __init__(self, connections: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(connections, *args, **kwargs)
        # Which shards a model lives on is no part of the protocol.
        self._cards = NoCards()  # type: ignore[assignment]

    def _new_life(self) -> str:
        Numbered.lives += 1
        return f"{self._worker}:{Numbered.lives:012x}"


@dataclass(eq=False)
class Held:
    """A job that a worker believes to hold."""

    job: Claimed
    #: claimed, running, or leaving: then `last` is repeated until Redis has answered.
    phase: str
    last: Outcome | HandBack | None = None

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def token(self) -> str:
        """The token of its claim."""
        return self.job.token


class Worker:
    """One worker's process: what it believes, and what it does about it."""

    def __init__(self, queue: WorkerQueue, link: Any) -> None:
        self.queue = queue
        self.link = link
        self.held: dict[str, Held] = {}
        #: Claims whose answer is still on its way.
        self.coming: list[list[Claimed]] = []
        #: What each life that is over had on its engine, or may have had, in the end.
        self.last: dict[str, set[str]] = {}
        self.registered = False
        self.frozen = False

    def register(self) -> None:
        """Begin a life; what the last one held is gone, but for what waits to be told."""
        self.last[self.queue.life] = {each.id for each in self.at_work()}
        self.held = {each.id: each for each in self.held.values() if each.phase == "leaving"}
        self.registered = False
        driven(self.queue.register({"state": "loading"}))
        self.registered = True

    def claim(self, count: int, *, start: bool, steal: bool, slow: bool = False) -> None:
        """Claim; the answer to a slow one comes later."""
        # As in the feeder: one that saw an engine die runs with nothing else near it.
        if self.suspects():
            return
        rows = driven(self.queue.claim(count, start=start and not self.at_work(), steal=steal))
        self.coming.append(rows)
        if not slow:
            self.arrive()

    def arrive(self) -> None:
        """Take in the answers to slow claims."""
        for job in (each for rows in self.coming for each in rows):
            self.held[job.id] = Held(job, "running" if job.started else "claimed")
        self.coming.clear()

    def suspects(self) -> list[Held]:
        """Held jobs that saw an engine die, also those whose end Redis has not heard of."""
        return [each for each in self.held.values() if each.job.crashes]

    def at_work(self) -> list[Held]:
        """Jobs that may be on the GPU."""
        return [each for each in self.held.values() if each.phase in ("starting", "running")]

    def engine_of(self, life: str) -> set[str] | None:
        """Return what a life of this process has, or had in the end, on its engine."""
        if life == self.queue.life:
            return {each.id for each in self.at_work()}
        return self.last.get(life)

    def start(self, chosen: Sequence[Held]) -> None:
        """Start a batch; a suspect is a batch of its own, and waits until nothing else runs."""
        if any(each.phase == "leaving" for each in self.suspects()):
            # As in the feeder: for the world it still runs alone.
            return
        batch = [each for each in chosen if each.phase in ("claimed", "starting")]
        alone = [each for each in batch if each.job.crashes]
        if alone or any(each.job.crashes for each in self.at_work()):
            batch = alone[:1]
            if [each for each in self.at_work() if each not in batch]:
                return
        if not batch:
            return
        for each in batch:
            each.phase = "starting"
        self.link.items = batch
        verdicts = driven(self.queue.start([each.job for each in batch]))
        for each in batch:
            if verdicts[each.id] == "ok":
                each.phase = "running"
            else:
                self.forget(each)

    def forget(self, held: Held) -> None:
        """Let go of a job, unless it is held under a newer token."""
        if self.held.get(held.id) is held:
            del self.held[held.id]

    def settle(self, chosen: Sequence[Held], kind: str, backoff_s: float) -> None:
        """Tell how jobs ended, and again what no answer came for."""
        for each in chosen:
            if each.phase != "leaving":
                if each.phase != "running" and kind == "succeeded":
                    # What never ran can be refused, and no more.
                    kind = "failed"
                payload = f'"{kind} {each.token}"'.encode()
                each.last = Outcome(each.id, each.token, kind, payload, backoff_s)
                each.phase = "leaving"
        self.deliver(chosen)

    def give_up(self, chosen: Sequence[Held], *, charge: bool, alone: bool) -> None:
        """Hand jobs back; what never ran is never charged by its keeper."""
        for each in chosen:
            if each.phase != "leaving":
                each.last = HandBack(each.id, each.token, charge, alone, reason="told")
                each.phase = "leaving"
        self.deliver(chosen)

    def deliver(self, chosen: Sequence[Held]) -> None:
        """Send outcomes and hand-backs; one without an answer is kept, and sent again."""
        for kind, call in ((Outcome, self.queue.settle), (HandBack, self.queue.hand_back)):
            parcels = [each for each in chosen if isinstance(each.last, kind)]
            if parcels:
                self.link.items = [each.last for each in parcels]
                verdicts = driven(call(self.link.items))
                assert set(verdicts) == {each.id for each in parcels}
                for each in parcels:
                    self.forget(each)

    def progress(self, chosen: Sequence[Held]) -> None:
        """Tell how far jobs are."""
        told = [(each.id, each.token, each.token.encode()) for each in chosen]
        self.link.items = told
        driven(self.queue.progress(told))

    def write_as(self, life: str, job: Claimed, what: str) -> None:
        """Write about a job as one that slept meanwhile, or as a late packet does."""
        self.queue.life = life
        if what == "start":
            self.link.items = [job]
            driven(self.queue.start([job]))
        elif what == "progress":
            self.link.items = [(job.id, job.token, b"old")]
            driven(self.queue.progress(self.link.items))
        elif what == "hand back":
            self.link.items = [HandBack(job.id, job.token, charge=True, alone=True)]
            driven(self.queue.hand_back(self.link.items))
        else:
            self.link.items = [Outcome(job.id, job.token, what, b'"old"')]
            driven(self.queue.settle(self.link.items))

    def beat(self, wrong: Sequence[str] = ()) -> None:
        """Beat, and set right what the answer says, as the feeder does; `wrong` ids are named too
        or, when held, left out."""
        named = set(self.held) ^ set(wrong)
        answer = driven(self.queue.beat(sorted(named), state="ready", stats={}))
        if answer.buried:
            self.register()
        else:
            self.reconcile(answer)

    def reconcile(self, answer: BeatAnswer) -> None:
        """Drop what is lost or canceled, and hand back what nobody here knows."""
        for identifier in answer.lost:
            held = self.held.get(identifier)
            if held and held.phase != "leaving":
                self.forget(held)
        unknown = [HandBack(each, t) for each, t in answer.owned_not_held if each not in self.held]
        if unknown:
            self.link.items = unknown
            driven(self.queue.hand_back(unknown))

    def tidy(self) -> None:
        """Do what a living worker does in time: answer, end what it runs, and beat."""
        self.frozen = False
        self.arrive()
        if not self.registered:
            self.register()
        self.settle(list(self.held.values()), "succeeded", 0)
        # A difference counts when it is seen twice.
        for _ in range(3):
            self.beat()

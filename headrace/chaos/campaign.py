"""A campaign: many jobs, many faults, and whether the promise held.

The same seed makes the same jobs and the same faults in the same order. When exactly a fault
strikes depends on the machine, as it waits until its victim is in the middle of something.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from headrace.chaos.aftermath import books, erase, leftovers
from headrace.chaos.client import Client
from headrace.chaos.crew import RECOVERY_S, Supervisor, Victim, end, freeze
from headrace.chaos.faults import ALL, Fault, Menu, Plan, schedule
from headrace.chaos.history import history
from headrace.chaos.judge import judge
from headrace.chaos.ledger import Ledger
from headrace.chaos.process import until
from headrace.chaos.receiver import Receiver
from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import Api, Stack
from headrace.chaos.telling import owed, untold, wait_until_told
from headrace.chaos.traffic import EVERYTHING, MODEL, Mix, Traffic
from headrace.chaos.units import SenderUnit, WorkerUnit
from headrace.chaos.verdict import Verdict
from headrace.errors import StartRefused
from jobs.policy import QueueOptions

BEAT_LIMIT_S = 3.0
APIS = WORKERS = 2
#: jobs may be ahead of the faults by as many as come with this number of faults
LEAD = 5
#: seconds in which everything has to have an outcome once nothing is broken any more
SETTLE_S = 90.0
#: seconds in which more jobs have to be sent, whatever is broken
LONG_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a campaign is, its seed, and what happens in it."""

    jobs: int = 5_000
    faults: int = 100
    seed: int = 0
    menu: Menu = field(default_factory=lambda: ALL)
    mix: Mix = EVERYTHING
    #: a receiver is told of the end of each third job, and answers one call of so many badly
    receiver_fails: float = 0.05


class Campaign:
    """One campaign on a stack of its own."""

    def __init__(
        self, size: Size, folder: Path | None = None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._size = size
        self._say = say
        self._stack = Stack(folder, beat_limit_s=f"{BEAT_LIMIT_S:g}", webhook_allow="127.0.0.0/8")
        self._receiver = Receiver(
            self._stack.folder / "events.jsonl", seed=size.seed, fails=size.receiver_fails
        )
        self._ledger = Ledger(self._stack.folder / "ledger.jsonl")
        self._runs = SideLog(self._stack.side_log)
        self._faults: list[Fault] = []
        self._fault_log = self._stack.folder / "faults.jsonl"
        self._begun = 0
        #: nothing is struck or held back any more: something failed
        self._over = False
        self._lock = threading.Lock()
        self._history: list[str] = []

    def run(self) -> Verdict:
        """Start everything, break it again and again, and say whether the promise held."""
        began = time.monotonic()
        size, stack = self._size, self._stack
        self._say(f"seed {size.seed}: {size.jobs} jobs, {size.faults} faults; {stack.folder}")
        with stack, self._receiver as receiver:
            apis = [stack.api() for _ in range(APIS)]
            workers = [WorkerUnit.start(stack, number) for number in range(WORKERS)]
            sender = SenderUnit.start(stack)
            self._wait_until_ready(apis[0], workers)
            client = Client(apis, self._ledger)
            traffic = Traffic(
                client, size.seed, size.jobs, size.mix, self._allowed, receiver.webhook()
            )
            processes = {"redis": stack.redis}
            processes |= {f"api-{number}": api.process for number, api in enumerate(apis)}
            processes |= {f"worker-{number}": each.process for number, each in enumerate(workers)}
            processes |= sender.processes()
            with Supervisor(processes) as supervisor:
                victims = self._victims(apis, workers, client)
                victims["sender"] = [sender.victim(self._to_tell)]
                with self._breaking(victims, traffic, supervisor):
                    traffic.run()
                self._say("everything is submitted and whole; reading what became of it")
                with contextlib.suppress(TimeoutError):
                    client.read_all(SETTLE_S)
                wait_until_told(self._ledger, receiver, stack.redis_url)
                orphans = self._orphans(client)
            findings = judge(self._ledger, self._runs, self._faults, supervisor.lives)
        self._ledger.close()
        return Verdict(
            seed=size.seed,
            accepted=len(self._ledger.accepted),
            statuses=dict(Counter(told["status"] for told in self._ledger.outcomes.values())),
            findings=findings,
            faults=self._faults,
            planned=size.faults,
            untold=untold(self._ledger, receiver),
            webhooks=len(receiver.events),
            orphans=orphans,
            history=self._history,
            failed_requests=traffic.failed,
            surprises=supervisor.surprises,
            seconds=time.monotonic() - began,
        )

    def _to_tell(self) -> int:
        """How many jobs have a webhook that was not told yet."""
        return len(owed(self._ledger) - self._receiver.told)

    def _wait_until_ready(self, api: Api, workers: list[WorkerUnit]) -> None:
        def decided() -> bool:
            ended = any(not each.process.running for each in workers)
            return ended or all(each.ready() for each in workers)

        until(decided, RECOVERY_S, "ready workers")
        for each in workers:
            if not each.process.running:
                raise StartRefused(f"a worker does not start: {each.process.said()[-2000:]}")
        api.ready(MODEL)

    def _allowed(self) -> float:
        """How many jobs may have been sent by now."""
        if self._over:
            return math.inf
        return (self._begun + LEAD) * self._size.jobs / max(self._size.faults, 1)

    def _victims(
        self, apis: list[Api], workers: list[WorkerUnit], client: Client
    ) -> dict[str, list[Victim]]:
        redis = self._stack.redis
        return {
            "api": [
                Victim(
                    f"api-{number}",
                    api.process,
                    partial(client.in_flight, api),
                    api.alive,
                )
                for number, api in enumerate(apis)
            ],
            "feeder": [each.victim(self._runs, child=False) for each in workers],
            "engine": [each.victim(self._runs, child=True) for each in workers],
            "redis": [Victim("redis", redis, client.in_flight, self._stack.redis_answers)],
        }

    @contextlib.contextmanager
    def _breaking(
        self, victims: dict[str, list[Victim]], traffic: Traffic, supervisor: Supervisor
    ) -> Iterator[None]:
        """Strike in the background; leaving waits for the last fault and its recovery."""
        roles = {role: len(those) for role, those in victims.items()}
        # What is one unit meets one fault after the other; the units break side by side.
        work: defaultdict[str, list[tuple[Plan, Victim]]] = defaultdict(list)
        size = self._size
        for plan in schedule(size.seed, size.faults, size.menu, roles, BEAT_LIMIT_S):
            victim = victims[plan.role][plan.which]
            work[victim.unit].append((plan, victim))

        def is_due(plan: Plan) -> bool:
            return self._over or traffic.sent >= plan.number * size.jobs / size.faults

        def strike_all(unit: str) -> None:
            try:
                for plan, victim in work[unit]:
                    until(partial(is_due, plan), LONG_S, f"fault {plan.number} is due")
                    if self._over:
                        return
                    with self._lock:
                        self._begun += 1
                    self._strike(plan, victim, supervisor)
            finally:
                # Who waits for the others must not wait for ever when one has failed.
                self._over |= sys.exc_info()[0] is not None

        with ThreadPoolExecutor(len(work) or 1) as pool:
            striking = [pool.submit(strike_all, unit) for unit in work]
            try:
                yield
            except BaseException:
                self._over = True
                raise
            for each in striking:
                each.result()

    def _strike(self, plan: Plan, victim: Victim, supervisor: Supervisor) -> None:
        pid, busy = victim.catch()
        if pid is None:
            raise TimeoutError(f"{victim.unit} has no process for fault {plan.number}")
        at = time.monotonic()
        if plan.kind in {"kill", "restart"}:
            supervisor.condemn(pid)
            end(pid, signal.SIGKILL if plan.kind == "kill" else signal.SIGTERM)
            until(
                lambda: victim.pid() not in {None, pid} and victim.whole(), RECOVERY_S, victim.unit
            )
        elif plan.kind == "long freeze":
            freeze(pid, plan.asleep_s, partial(victim.ripe, at))
        else:
            freeze(pid, plan.asleep_s)
        # Between a look and a blow a crowded machine may do anything: it is looked at again.
        hit = busy > 0 and victim.was_busy(busy, at)
        fault = Fault(
            plan=plan, victim=victim.unit, pid=pid, at=at, until=time.monotonic(), hit=hit
        )
        with self._lock:
            self._faults.append(fault)
            with self._fault_log.open("a") as log:
                log.write(json.dumps(fault.line()) + "\n")
        if len(self._faults) % 20 == 0:
            ledger = self._ledger
            self._say(
                f"{len(self._faults)} faults; {len(ledger.accepted)} accepted, "
                f"{ledger.done} ended, {len(ledger.changed)} with two outcomes"
            )

    def _orphans(self, client: Client) -> list[str]:
        """What is wrong in Redis now, and what is left once every job is erased."""
        url = self._stack.redis_url
        options = QueueOptions(beat_limit_s=BEAT_LIMIT_S)
        found = books(url, options)
        # Before anything is erased.
        self._history = history(self._stack.folder, found)
        found += erase(client)
        found += books(url, options)
        return found + [f"{count} keys of kind {kind}" for kind, count in leftovers(url).items()]

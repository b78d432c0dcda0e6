"""What a campaign breaks beside APIs and Redis: workers, and what tells receivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx

from headrace.chaos.api import Api
from headrace.chaos.crew import Victim, always
from headrace.chaos.process import Process, children, free_port
from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import Stack


@dataclass(frozen=True, slots=True)
class WorkerUnit:
    """A worker and where it says whether it is ready."""

    name: str
    process: Process
    probes: Api

    @classmethod
    def start(cls, stack: Stack, number: int) -> WorkerUnit:
        """Start one with a data folder of its own: one holds one worker of a model."""
        name, port = f"worker-{number}", free_port()
        folder = str(stack.folder / name)
        process = stack.worker(data_dir=folder, worker_name=name, worker_port=str(port))
        url = f"http://127.0.0.1:{port}"
        probes = Api(url, process, http=httpx.Client(base_url=url, timeout=2))
        stack.keep(probes)
        return cls(name, process, probes)

    def victim(self, runs: SideLog, *, child: bool) -> Victim:
        """Its engine, or its feeder; both are caught in the middle of a run."""
        return Victim(
            self.name,
            self.process,
            partial(self._in_a_run, runs),
            self.ready,
            child,
            # A feeder with results that are not its own any more: the fence has to hold now.
            always if child else partial(self._overtaken, runs),
            runs.in_a_run,
        )

    def _overtaken(self, runs: SideLog, since: float) -> bool:
        return any(runs.overtaken(engine, since) for engine in children(self.process.pid))

    def _in_a_run(self, runs: SideLog) -> int:
        engines = children(self.process.pid)
        return next((engine for engine in engines if runs.busy(engine)), 0)

    def ready(self) -> bool:
        """Whether it says that it is."""
        return self.probes.status("/healthz") == 200


@dataclass(frozen=True, slots=True)
class SenderUnit:
    """The three processes that tell receivers; the sender is what is hit."""

    process: Process
    retries: Process
    cron: Process
    probes: Api

    @classmethod
    def start(cls, stack: Stack) -> SenderUnit:
        """Start them; they need not be ready yet."""
        port = free_port()
        sender = stack.webhooks("sender", metrics_port=str(port))
        url = f"http://127.0.0.1:{port}"
        probes = Api(url, sender, http=httpx.Client(base_url=url, timeout=2))
        stack.keep(probes)
        return cls(sender, stack.webhooks("retries"), stack.webhooks("cron"), probes)

    def processes(self) -> dict[str, Process]:
        """Return each by its name."""
        return {"sender-0": self.process, "retries-0": self.retries, "cron-0": self.cron}

    def victim(self, busy: Callable[[], int]) -> Victim:
        """The sender, while there is something to tell."""
        return Victim("sender-0", self.process, busy, self.probes.alive)

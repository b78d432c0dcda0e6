"""A whole Headrace with a real Prometheus that scrapes it, and a client that keeps its own book."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import FINAL, Api, Process, Stack, free_port, until

from .files import RULES
from .tools import Tools

MODEL = "chaos"
SUBMIT = f"/v1/models/{MODEL}/jobs"
#: As Headrace names it in its metrics.
SUBMIT_ROUTE = "/v1/models/{model}/jobs"


@dataclass
class Book:
    """What a client knows for itself: all it has sent, and all it was answered."""

    apis: list[Api]
    receiver: Receiver
    #: accepted jobs by id, with their priority
    accepted: dict[str, str] = field(default_factory=dict)
    #: answers to submits by status
    answers: Counter[int] = field(default_factory=Counter)
    #: refusals by code
    refused: Counter[str] = field(default_factory=Counter)
    #: jobs whose end is to be told
    watched: set[str] = field(default_factory=set)
    _turn: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def api(self) -> Api:
        """Take the APIs in turn."""
        with self._lock:
            self._turn += 1
            return self.apis[self._turn % len(self.apis)]

    def note(self, answer: httpx.Response) -> dict[str, Any]:
        """Write down an answer to anything."""
        if answer.status_code >= 400:
            with self._lock:
                self.refused[answer.json()["code"]] += 1
        return dict(answer.json())

    def submit(
        self, given: dict[str, Any], *, key: str | None = None, told: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Submit over a connection of its own, so that each process of an API has its share."""
        body = {"input": given, **options}
        if told:
            body["webhook"] = self.receiver.webhook()
        headers = {"Connection": "close", **({} if key is None else {"Idempotency-Key": key})}
        answer = self.api().call("POST", SUBMIT, json=body, headers=headers)
        job = self.note(answer)
        with self._lock:
            self.answers[answer.status_code] += 1
            if answer.status_code == 202:
                self.accepted[job["id"]] = options.get("priority", "normal")
                if told:
                    self.watched.add(job["id"])
        return job

    def together(self, inputs: Iterable[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        """Submit from eight threads."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda given: self.submit(given, **options), inputs))

    def finished(self, seconds: float = 60.0) -> Counter[tuple[str, str]]:
        """Wait until each accepted job is final; return how many ended how: (status, code)."""
        ended: Counter[tuple[str, str]] = Counter()
        for job_id in self.accepted:
            job = self.apis[0].finished(job_id, seconds)
            assert job["status"] in FINAL
            ended[job["status"], (job["error"] or {}).get("code", "")] += 1
        return ended


@dataclass
class Scrapes:
    """A real Prometheus, asked over its HTTP API."""

    process: Process
    url: str

    def ask(self, path: str, **given: str) -> Any:
        """Return the data of an answer."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=given, timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate now: labels and value of each sample."""
        found = self.ask("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def one(self, expression: str) -> float | None:
        """The only sample's value, None where there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def by(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Samples above nothing, by their labels."""
        found = self.query(expression)
        return {tuple(at.get(each, "") for each in labels): value for at, value in found if value}


@dataclass
class Live:
    """All of it."""

    stack: Stack
    book: Book
    scrapes: Scrapes
    workers: list[Process]


@contextmanager
def running(tools: Tools, folder: Path) -> Iterator[Live]:
    """Two APIs of two processes each, two workers, a sender, a receiver, and Prometheus."""
    with (
        Receiver(folder / "told.jsonl", fails=0.1) as receiver,
        Stack(webhook_allow="127.0.0.0/8", cancel_grace_s="1") as stack,
    ):
        ports = [free_port() for _ in range(5)]
        workers = [
            stack.worker(
                worker_port=str(port), worker_name=f"w{port}", data_dir=str(folder / str(port))
            )
            for port in ports[2:4]
        ]
        stack.webhooks(metrics_port=str(ports[4]))
        jobs = {"api": ports[:2], "worker": ports[2:4], "webhooks": ports[4:]}
        scrapes = _prometheus(tools, stack, folder, jobs)
        # Last, since this waits until they answer, and the others can begin meanwhile.
        apis = [stack.api(api_workers="2", metrics_port=str(port)) for port in ports[:2]]
        until(lambda: len(scrapes.query("up == 1")) == 5, 60, "five processes that are scraped")
        ready = "max(headrace_workers_ready)"
        until(lambda: scrapes.one(ready) == 2, 60, "two workers that are ready")
        yield Live(stack, Book(apis, receiver), scrapes, workers)


def _prometheus(tools: Tools, stack: Stack, folder: Path, jobs: dict[str, list[int]]) -> Scrapes:
    scraped = [
        {
            "job_name": name,
            "static_configs": [{"targets": [f"127.0.0.1:{each}" for each in targets]}],
        }
        for name, targets in jobs.items()
    ]
    return prometheus(tools, stack, folder, RULES, scraped)


def prometheus(
    tools: Tools, stack: Stack, folder: Path, rules: Path, scraped: list[dict[str, Any]], *more: str
) -> Scrapes:
    """Start a Prometheus that scrapes and evaluates each second, and wait until it answers."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": scraped,
    }
    # JSON is YAML, too.
    path = folder / "prometheus.yaml"
    path.write_text(json.dumps(config))
    command = [tools.prometheus, f"--config.file={path}", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=warn", *more]
    process = stack.process("prometheus", command).start()
    scrapes = Scrapes(process, f"http://127.0.0.1:{port}")

    def answers() -> bool:
        assert process.running, process.said()
        try:
            return httpx.get(f"{scrapes.url}/-/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    until(answers, 30, "Prometheus")
    return scrapes


def rules_of(scrapes: Scrapes) -> list[dict[str, Any]]:
    """Return every rule as Prometheus has evaluated it."""
    return [rule for group in scrapes.ask("rules")["groups"] for rule in group["rules"]]


def loaded_rules() -> int:
    """Return how many rules the file has."""
    return sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text())["groups"])

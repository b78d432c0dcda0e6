"""A small steady workload in which every transition happens, and the book that is kept of it."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from headrace.chaos.ledger import Ledger
from headrace.chaos.process import until

MODEL = Path(__file__).resolve().parent / "models" / "steady"
#: A model with a card and no worker.
NOBODY = "nobody"
#: No request is refused, and no job is open, for longer than this, in seconds.
BOUND_S = 25.0

#: What was asked -> how it must end, and how often `predict` runs.
ENDS: dict[str, tuple[str, range]] = {
    "return": ("succeeded", range(1, 2)),
    "slow": ("succeeded", range(1, 2)),
    "progress": ("succeeded", range(1, 2)),
    "raise": ("failed", range(1, 2)),
    "raise_once": ("succeeded", range(2, 3)),
    "wait_cancel": ("canceled", range(2)),
    "cancel": ("canceled", range(1)),
    "expire": ("expired", range(1)),
}


class Steady:
    """One client that does everything there is to do, again and again."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self.http = httpx.Client(base_url=url, timeout=40)
        self.ledger = ledger
        self.laps = 0
        #: Marks of submits without a key that were refused: accepted once, or not at all.
        self.unsure: set[str] = set()
        self._mark = f"{secrets.token_hex(3)}-"
        self._numbers = itertools.count()

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Send a request until it is answered with anything but 503, within the bound."""

        def answered() -> httpx.Response | None:
            answer = self.http.request(method, path, **given)
            assert answer.status_code in {*range(200, 500), 503}, answer.text
            if answer.status_code != 503:
                return answer
            self.ledger.refuse(answer.json()["code"])
            time.sleep(0.05)
            return None

        answer = until(answered, BOUND_S, f"{method} {path} is answered")
        assert answer is not None
        return answer

    def mark(self) -> str:
        """Return a new mark, by which a run in the side log is known."""
        return f"{self._mark}{next(self._numbers)}"

    def submit(
        self, do: str = "return", *, model: str = MODEL.name, wait: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Submit under a key, however often it takes."""
        mark = self.mark()
        headers = {"Idempotency-Key": mark} | ({"Prefer": "wait=10"} if wait else {})
        body = {"input": self._input(do, mark), **options}
        answer = self.ask("POST", f"/v1/models/{model}/jobs", json=body, headers=headers)
        assert answer.status_code in (200, 202), answer.text
        return self._accepted(answer.json(), do, mark)

    def submit_once(self) -> None:
        """Submit without a key; what becomes of a refused one is not known."""
        mark = self.mark()
        answer = self.http.post(
            f"/v1/models/{MODEL.name}/jobs", json={"input": self._input("return", mark)}
        )
        if answer.status_code == 202:
            self._accepted(answer.json(), "return", mark)
        else:
            assert answer.status_code == 503, answer.text
            self.unsure.add(mark)

    def submit_batch(self, count: int = 3) -> str:
        """Submit a batch under a key; return its id."""
        marks = [self.mark() for _ in range(count)]
        body = {"inputs": [self._input("return", mark) for mark in marks]}
        path = f"/v1/models/{MODEL.name}/jobs/batch"
        answer = self.ask("POST", path, json=body, headers={"Idempotency-Key": marks[0]})
        assert answer.status_code == 202, answer.text
        for job, mark in zip(answer.json()["jobs"], marks, strict=True):
            self._accepted(job, "return", mark)
        return str(answer.json()["batch"])

    def _input(self, do: str, mark: str) -> dict[str, str]:
        return {"do": do, "n": mark} if do not in ("cancel", "expire") else {"n": mark}

    def _accepted(self, job: dict[str, Any], do: str, mark: str) -> dict[str, Any]:
        self.ledger.accept(job["id"], {"do": do, "n": mark})
        self.ledger.tell(job)
        return job

    def lap(self) -> None:
        """Let everything happen once; at the end all of it has ended."""
        mine = [self.submit(do) for do in ("return", "progress", "raise_once")]
        failing = self.submit("raise")
        running = self.submit("wait_cancel")
        queued = self.submit("cancel", model=NOBODY)
        mine += [failing, running, queued, self.submit("expire", model=NOBODY, deadline_s=0.2)]
        self.submit_once()
        batch = self.submit_batch()
        self.ask("POST", f"/v1/jobs/{queued['id']}/cancel")
        self._cancel_once_running(running["id"])
        mine.append(self.submit(wait=True))
        self.ask("GET", f"/v1/models/{MODEL.name}/scale")
        self.ask("GET", "/healthz")
        self.ask("GET", f"/v1/jobs?model={MODEL.name}&limit=5")
        self.ask("GET", f"/v1/batches/{batch}")
        self.all_final()
        self._again(failing["id"])
        for job in mine[:2]:
            assert self.ask("DELETE", f"/v1/jobs/{job['id']}").status_code in (204, 404)
        self.laps += 1

    def _cancel_once_running(self, job_id: str) -> None:
        def canceled() -> bool:
            if self.ask("GET", f"/v1/jobs/{job_id}").json()["status"] == "queued":
                return False
            return self.ask("POST", f"/v1/jobs/{job_id}/cancel").status_code in (200, 409)

        until(canceled, BOUND_S, f"{job_id} runs and is canceled")

    def _again(self, job_id: str) -> None:
        """Retry a failed job: once by its owner, once by an admin who also purges it."""
        for path in (f"/v1/jobs/{job_id}/retry", f"/v1/admin/dead/{job_id}/retry"):
            answer = self.ask("POST", path, headers={"Idempotency-Key": path})
            assert answer.status_code == 202, (path, answer.text)
            job = answer.json()
            self.ledger.accept(job["id"], {"do": "raise", "n": ""})
        if self.laps % 3 == 0:
            # It asks every shard there is.
            assert self.ask("GET", "/v1/admin/dead?limit=5").status_code == 200
        self.all_final()
        answer = self.ask("DELETE", f"/v1/admin/dead/{job_id}")
        assert answer.status_code in (204, 404), answer.text

    def all_final(self) -> None:
        """Hold until all that this client was promised has ended."""
        end = time.monotonic() + BOUND_S
        for job_id in self._own():
            while job_id not in self.ledger.outcomes:
                answer = self.ask("GET", f"/v1/jobs/{job_id}?wait=2")
                assert answer.status_code == 200, answer.text
                self.ledger.tell(answer.json())
                assert time.monotonic() < end, f"not ended in time: {answer.text}"

    def _own(self) -> list[str]:
        return [job_id for job_id in self.ledger.open() if job_id in self.ledger.accepted]


class Crowd:
    """Several clients in threads, lap after lap, until told to stop; each has its own ledger."""

    def __init__(self, url: str, folder: Path, count: int) -> None:
        self.clients = [Steady(url, Ledger(folder / f"ledger-{n}.jsonl")) for n in range(count)]
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(client,), daemon=True)
            for client in self.clients
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, client: Steady) -> None:
        while not self._stop.is_set():
            try:
                client.lap()
            except (AssertionError, TimeoutError, httpx.HTTPError, KeyError) as error:
                self.errors.append(f"{type(error).__name__}: {error}"[:500])
                return

    @property
    def laps(self) -> int:
        """How many times everything has happened."""
        return sum(client.laps for client in self.clients)

    def stop(self) -> None:
        """Let each client end its lap."""
        self._stop.set()
        for thread in self._threads:
            thread.join(4 * BOUND_S)
            assert not thread.is_alive(), "a client hangs"
        for client in self.clients:
            client.http.close()


def runs_of(side_log: Path) -> tuple[Counter[str], dict[str, set[str]]]:
    """Return how often each job ran, and which jobs ran for each mark."""
    runs: Counter[str] = Counter()
    jobs: dict[str, set[str]] = {}
    for line in side_log.read_text().splitlines():
        row = json.loads(line)
        if row["n"] not in ("", "example"):
            runs[row["job"]] += 1
            jobs.setdefault(row["n"], set()).add(row["job"])
    return runs, jobs


def judge(clients: list[Steady], side_log: Path) -> dict[str, list[Any]]:
    """Hold what the clients were told against what has run; every list must be empty."""
    runs, jobs_of = runs_of(side_log)
    bad: dict[str, list[Any]] = {
        name: [] for name in ("lost", "two_outcomes", "wrong_end", "wrong_runs", "twice", "crashes")
    }
    retried: set[str] = set()
    for client in clients:
        ledger = client.ledger
        bad["lost"] += ledger.open()
        bad["two_outcomes"] += ledger.changed.items()
        for job_id, about in ledger.accepted.items():
            told = ledger.outcomes.get(job_id, {})
            status, expected = ENDS[about["do"]]
            crashes = told.get("crashes", 0)
            retried |= set() if about["n"] else {job_id}
            if told and told["status"] != status:
                bad["wrong_end"].append((job_id, about, told))
            if not expected.start <= runs[job_id] < expected.stop + crashes:
                bad["wrong_runs"].append((job_id, about, runs[job_id], told))
            if crashes:
                bad["crashes"].append((job_id, about, told))
        accepted = Counter(about["n"] for about in ledger.accepted.values() if about["n"])
        bad["twice"] += [mark for mark, count in accepted.items() if count > 1]
    bad["twice"] += [(mark, jobs) for mark, jobs in jobs_of.items() if len(jobs - retried) > 1]
    return bad

"""Writes golden data with the processes of any version: see README.md beside it.

Every process is real and every one is killed at the end, in the middle of its work.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from headrace.chaos import stack as stacks
from headrace.chaos.stack import Api, Process, Stack, until

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from receiver import URL, Receiver  # noqa: E402

#: The data are to be read in years: nothing in them may have become too old.
CENTURY_S = str(100 * 365 * 86400)
AGES = {name: CENTURY_S for name in ("result_ttl_s", "dead_ttl_s", "max_queue_age_s")}
#: The longest deadline there is.
TEN_YEARS_S = 315_360_000
TENANTS = ("north", "south")
SECRET = "g" * 43
KEYS = {name: f"hr_{name:0<12}_{SECRET}" for name in ("admin", *TENANTS)}
MODEL = "golden"


@dataclass
class Writer:
    """What runs, and the book of what clients were told."""

    stack: Stack
    api: Api
    book: list[dict[str, Any]] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)

    def worker(self, name: str, pace: float = 0, **settings: str) -> Process:
        """Start a worker that jobs can hold up; a slow one claims nothing ahead."""
        folder = str(self.stack.folder / name)
        environment = {"GOLDEN_WRITING": str(pace)}
        given = {"worker_name": name, "data_dir": folder, "beat_limit_s": "2", **settings}
        process = self.stack.worker(HERE / "model", environment=environment, **given)
        until(lambda: name in self._ready(), 60, name)
        return process

    def _ready(self) -> set[str]:
        card = self.tenant("north").call("GET", f"/v1/models/{MODEL}")
        workers = card.json()["workers"] if card.status_code == 200 else []
        return {each["name"] for each in workers if each["state"] == "ready"}

    def tenant(self, name: str) -> Api:
        """Return the API as this tenant sees it."""
        return self.api.with_key(KEYS[name])

    def submit(
        self, name: str, then: str, *, tenant: str = "north", key: str = "", **options: Any
    ) -> str:
        """Submit a job, and write down what has to become of it."""
        given = {"name": name, "do": options.pop("do", "return")}
        given["seconds"] = options.pop("seconds", 0.0)
        body = {"input": given, **options}
        headers = {"Idempotency-Key": key} if key else {}
        path = f"/v1/models/{MODEL}/jobs"
        answer = self.tenant(tenant).call("POST", path, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        entry = {"id": answer.json()["id"], "name": name, "tenant": tenant, "key": key}
        self.book.append({**entry, "body": body, "then": then})
        return str(answer.json()["id"])

    def batch(self, name: str, **options: Any) -> None:
        """Submit a batch with a key."""
        inputs = [{"name": f"{name}-{number}"} for number in range(3)]
        body = {"inputs": inputs, **options}
        headers = {"Idempotency-Key": name}
        path = f"/v1/models/{MODEL}/jobs/batch"
        answer = self.tenant("north").call("POST", path, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        told = answer.json()
        ids = [job["id"] for job in told["jobs"]]
        entry = {"id": told["batch"], "key": name, "body": body, "jobs": ids}
        self.batches.append(entry)
        for given, each in zip(inputs, ids, strict=True):
            row = {"id": each, "name": given["name"], "tenant": "north", "key": ""}
            self.book.append({**row, "body": {"input": given}, "then": "succeeded"})

    def ends(self) -> None:
        """Wait until every job of the book is final."""
        for entry in self.book:
            self.tenant(entry["tenant"]).finished(entry["id"], 60)


def ended(writer: Writer) -> None:
    """Jobs of every end."""
    for priority in ("high", "normal", "low"):
        for tenant in TENANTS:
            name = f"ended-{priority}-{tenant}"
            key = f"key of {name}"
            writer.submit(name, "succeeded", tenant=tenant, priority=priority, key=key)
    writer.submit("ended-metadata", "succeeded", metadata={"who": "Zoë", "why": "{}"})
    writer.submit("ended-failed", "failed", do="raise", key="of one that failed")
    writer.batch("ended-batch")
    writer.ends()
    writer.submit("ended-late", "timed_out", seconds=30, timeout_s=0.3)
    writer.ends()
    busy = writer.submit("ended-slow", "succeeded", seconds=1.5)
    writer.tenant("north").reaches(busy, "running")
    writer.submit("ended-expired", "expired", deadline_s=0.2, priority="high")
    canceled = writer.submit("ended-canceled", "canceled", tenant="south")
    assert writer.tenant("south").cancel(canceled).status_code == 200
    writer.ends()


def unfinished(writer: Writer) -> None:
    """Jobs in each place that is not the end."""
    writer.submit("put-off", "succeeded", do="put_off", key="of one that was put off")
    put_off = writer.book[-1]["id"]
    until(lambda: _attempts(writer, put_off) == 1, 20, "it was tried")
    on_a_worker(writer, "running", "north", key="of one that runs")
    writer.worker("golden-2", 1.5, cancel_grace_s="600")
    canceling = on_a_worker(writer, "canceling", "south")
    canceling["then"] = "canceled"
    assert writer.tenant("south").cancel(canceling["id"]).json()["status"] == "canceling"
    third = writer.worker("golden-3", 1.5)
    lost = on_a_worker(writer, "lost", "south")["id"]
    third.kill_tree()
    until(lambda: writer.tenant("south").get(lost)["crashes"] == 1, 20, "its worker is missed")
    for priority in ("high", "normal", "low"):
        for tenant in TENANTS:
            name = f"queued-{priority}-{tenant}"
            key = f"key of {name}" if priority != "low" else ""
            writer.submit(name, "succeeded", tenant=tenant, priority=priority, key=key)
    writer.submit("queued-failing", "failed", do="raise")
    writer.submit("queued-far", "succeeded", deadline_s=TEN_YEARS_S, timeout_s=60)
    writer.submit("queued-near", "expired", deadline_s=60)
    writer.submit("queued-metadata", "succeeded", metadata={"who": "Zoë", "why": "{}"})
    canceled = writer.submit("canceled-in-line", "canceled")
    assert writer.tenant("north").cancel(canceled).status_code == 200


def on_a_worker(writer: Writer, name: str, tenant: str, key: str = "") -> dict[str, Any]:
    """Submit jobs that take long until one runs: what a busy worker has claimed may wait for it."""
    tried: list[dict[str, Any]] = []

    def running() -> dict[str, Any] | None:
        api = writer.tenant(tenant)
        return next((e for e in tried if api.get(e["id"])["status"] == "running"), None)

    for number in range(30):
        each = name if number == 0 else f"{name} {number + 1}"
        writer.submit(each, "succeeded", tenant=tenant, seconds=600, key=key if not tried else "")
        tried.append(writer.book[-1])
        with suppress(TimeoutError):
            return until(running, 3) or {}
    raise TimeoutError(f"no worker takes {name}")


def _attempts(writer: Writer, job_id: str) -> int:
    job = writer.tenant("north").get(job_id)
    return int(job["attempt"]) if job["status"] == "queued" else 0


def told(writer: Writer, receiver: Receiver) -> None:
    """Deliveries that have been made, that are being tried, and that wait to be tried again."""
    for name in ("told", "later", "never"):
        writer.submit(f"webhook-{name}", "succeeded", webhook={"url": f"{URL}/{name}"})
    writer.ends()
    until(lambda: receiver.told and receiver.hanging >= 1, 20, "the tries")

    def logged() -> bool:
        later = writer.book[-2]["id"]
        rows = writer.tenant("north").call("GET", f"/v1/jobs/{later}/webhooks").json()["data"]
        return any(len(row["tries"]) >= 2 for row in rows)

    until(logged, 30, "one was tried again")


def untold(writer: Writer, senders: Process) -> None:
    """Events that no sender has seen, and jobs that will have some."""
    senders.kill_tree()
    hook = {"url": f"{URL}/told"}
    writer.submit("webhook-unseen", "succeeded", webhook=hook, key="of one with a webhook")
    writer.batch("webhook-batch", webhook=hook)
    writer.ends()


def secret(writer: Writer) -> str:
    """Give a tenant a secret of its own."""
    path = "/v1/admin/webhook-secrets"
    made = writer.tenant("admin").call("POST", path, json={"tenant": "north"})
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def rewrite(stack: Stack) -> None:
    """Have Redis write its log anew: what happened on the way there is left out."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.bgrewriteaof()
        until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 20, "a rewrite")


def save(writer: Writer, folder: Path, **more: Any) -> None:
    """Kill everything, Redis last, and keep its log with what clients had been told."""
    for entry in writer.book:
        entry["was"] = writer.tenant(entry["tenant"]).get(entry["id"])
    for process in writer.stack._processes[1:]:
        process.kill_tree()
    writer.stack.redis.kill()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(writer.stack.folder / "appendonlydir", folder / "redis" / "appendonlydir")
    told = {"written": int(time.time()), "keys": KEYS, **more}
    told |= {"batches": writer.batches}
    lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in (told, *writer.book)]
    (folder / "told.jsonl").write_text("".join(lines))


def main(folder: Path, code: Path) -> None:
    """Write the data into this folder with the processes of the version whose code this is."""
    stacks.CODE = code
    # Text all through, and nothing in it that an older Redis than this one cannot read.
    plain = ("--aof-use-rdb-preamble", "no")
    with ExitStack() as stay:
        home = Path(stay.enter_context(tempfile.TemporaryDirectory(prefix="hr-golden-")))
        stack = stay.enter_context(Stack(home, plain, **AGES))
        keys = [f"{KEYS['admin']} admin\n", *(f"{KEYS[t]} submit {t}\n" for t in TENANTS)]
        (home / "keys").write_text("".join(keys))
        webhooks = (code / "webhooks").is_dir()
        more = {"webhook_allow": "127.0.0.0/8"} if webhooks else {}
        api = stack.api(keys_file=str(home / "keys"), beat_limit_s="2", **more)
        writer = Writer(stack, api)
        short = writer.worker("golden-0", result_ttl_s="150")
        writer.submit("brief", "erased")
        writer.ends()
        short.stop()
        writer.worker("golden-1", cancel_grace_s="0.3")
        ended(writer)
        if webhooks:
            receiver = stay.enter_context(Receiver(busy=True))
            more = {"secret": secret(writer)}
            senders = stack.webhooks(webhook_delay_scale="1")
            told(writer, receiver)
            untold(writer, senders)
            hook = {"webhook": {"url": f"{URL}/told", "events": ["job.started", "job.succeeded"]}}
        unfinished(writer)
        if webhooks:
            writer.submit("webhook-queued", "succeeded", **hook)
        rewrite(stack)
        writer.submit("after", "succeeded", key="of the last")
        save(writer, folder, **({"secret": more["secret"]} if webhooks else {}))


if __name__ == "__main__":
    main(*(Path(given).resolve() for given in sys.argv[1:]))

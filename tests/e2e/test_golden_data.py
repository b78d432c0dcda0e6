"""Data folders that earlier versions wrote and died over are drained by this one."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from headrace.chaos.aftermath import books, leftovers, still_telling
from headrace.chaos.stack import FINAL, Api, Process, Stack, free_port, until
from headrace.data_folder import DataFolder
from jobs.policy import QueueOptions

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.append(str(GOLDEN))

from receiver import Receiver, Told  # noqa: E402

DAY_S = 86400
CENTURY_S = 100 * 365 * DAY_S
#: How much older than they are, at least: all that waits is due, or all that ends by itself has.
HOUR_S, YEAR_S = 3600, 400 * DAY_S
DEAD = {"failed", "timed_out"}
#: What the audit says of a job that failed before there was an index of those.
NOT_INDEXED = "missing hr:{{s039}}:dead: {} failed and administrators do not see it"
SETTINGS = {
    # The first processes waited as long for whom they missed, and kept jobs as long.
    "beat_limit_s": "2",
    "max_queue_age_s": str(CENTURY_S),
    "webhook_allow": "127.0.0.0/8",
    "webhook_delay_scale": "0.001",
    "log_format": "json",
}
#: Fields of a job that tell what was, and may not change with a version.
SEALED = ("input", "output", "error", "started_at", "finished_at", "attempt", "crashes", "metrics")


@dataclass
class Golden:
    """A copy of the data, and what clients were told when they were written."""

    folder: Path
    written: float
    keys: dict[str, str]
    secret: str
    batches: list[dict[str, Any]]
    jobs: list[dict[str, Any]]

    @classmethod
    def copy(cls, name: str, to: Path, older_by_s: int) -> Golden:
        """Copy the data, every time in them moved back."""
        shutil.copytree(GOLDEN / name, to)
        for log in (to / "redis" / "appendonlydir").glob("*.aof"):
            log.write_bytes(_moved_back(log.read_bytes(), older_by_s))
        told, *jobs = map(json.loads, (to / "told.jsonl").read_text().splitlines())
        for job in jobs:
            job["was"] = {name: _earlier(value, older_by_s) for name, value in job["was"].items()}
        written, keys, batches = told["written"] - older_by_s, told["keys"], told["batches"]
        return cls(to, written, keys, told.get("secret", ""), batches, jobs)

    def not_indexed(self) -> list[str]:
        """Return the jobs that had failed before there was an index of those."""
        ended = [entry for entry in self.jobs if entry["was"]["status"] in DEAD]
        return [entry["id"] for entry in ended] if self.folder.name == "first" else []

    @property
    def age_s(self) -> float:
        """How long ago they were written."""
        return time.time() - self.written


def _moved_back(log: bytes, by_s: int) -> bytes:
    """A time in milliseconds has 13 digits before and after: no length in the log changes."""

    def move(found: re.Match[bytes]) -> bytes:
        return str(int(found[0]) - by_s * 1000).encode()

    # Those of a month around their writing: what is kept for a century stays.
    return re.sub(rb"(?<!\d)179[5-9]\d{9}(?!\d)", move, log) if by_s else log


def _earlier(value: Any, by_s: int) -> Any:
    """The same, of a time as clients are told it."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    # A deadline in ten years stays, too.
    moved = at - timedelta(seconds=by_s) if at.year < 2030 else at
    return moved.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Drained:
    """`headrace up` of this version on the golden data."""

    def __init__(self, stack: Stack, golden: Golden) -> None:
        self.golden = golden
        self.ran = stack.folder / "ran"
        port = free_port()
        words = ["up", str(GOLDEN / "model"), "--port", str(port), "--data-dir", str(golden.folder)]
        named = {"HEADRACE_" + key.upper(): value for key, value in SETTINGS.items()}
        command = [sys.executable, "-m", "headrace", *words]
        environment = {**named, "GOLDEN_LOG": str(self.ran)}
        self.process: Process = stack.process("up", command, environment).start()
        self.open = Api(f"http://127.0.0.1:{port}", self.process)
        stack.keep(self.open)
        self.redis_url = DataFolder(golden.folder).redis_url
        self.open.up()

    def tenant(self, name: str) -> Api:
        """Return the API as the holder of a key of back then sees it."""
        return self.open.with_key(self.golden.keys[name])

    def wrong(self) -> list[str]:
        """Return what the audit finds."""
        return books(self.redis_url, QueueOptions(max_queue_age_s=CENTURY_S, beat_limit_s=2))

    def runs(self) -> Counter[str]:
        """Return how often `predict` saw each job; a worker warms up with some of its own."""
        return Counter(each for each in self.ran.read_text().split() if each.startswith("job_"))


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack() as made:
        made.redis.kill()  # up has a Redis of its own
        yield made


@pytest.mark.parametrize(
    ("name", "older_by_s"),
    [
        pytest.param("first", HOUR_S, id="first-an-hour-later"),
        pytest.param("before-webhooks", YEAR_S, id="before-webhooks-a-year-later"),
        pytest.param("webhooks", HOUR_S, id="webhooks-an-hour-later"),
        pytest.param("webhooks", YEAR_S, id="webhooks-a-year-later"),
        pytest.param("before-pins", HOUR_S, id="before-pins-an-hour-later"),
    ],
)
def test_what_an_earlier_version_left_is_drained(
    stack: Stack, tmp_path: Path, name: str, older_by_s: int
) -> None:
    golden = Golden.copy(name, tmp_path / name, older_by_s)
    with Receiver() as receiver:
        drained = Drained(stack, golden)
        final = _outcomes_are_right(drained)
        _what_had_ended_is_as_it_was(drained, final)
        _keys_still_find_their_jobs(drained)
        _the_dead_are_listed(drained)
        until(lambda: not still_telling(drained.redis_url), 20, "all that is to be told is")
        wrong = {NOT_INDEXED.format(each) for each in golden.not_indexed()}
        assert set(drained.wrong()) == wrong
        _receivers_were_told(drained, receiver.told)
        new = drained.tenant("north").run("golden", {"name": "new"})
        assert new["output"] == {"name": "new"}
        _nothing_stays_behind(drained, [*final, new["id"]])
    assert drained.process.stop(40) == 0


def _outcomes_are_right(drained: Drained) -> dict[str, dict[str, Any]]:
    """Each job ends once as it must; return them as they are, by id."""
    drained.open.ready("golden")
    final = {}
    for entry in drained.golden.jobs:
        api = drained.tenant(entry["tenant"])
        if entry["then"] == "erased":
            path = f"/v1/jobs/{entry['id']}"
            until(lambda: api.status(path) == 404, 10, "what was kept long enough is erased")  # noqa: B023
            continue
        job = api.finished(entry["id"], 30)
        assert job["status"] == entry["then"], (entry["name"], job)
        if job["status"] == "succeeded":
            assert job["output"] == {"name": entry["name"]}
        final[entry["id"]] = job
    waited = {e["id"] for e in drained.golden.jobs if e["was"]["status"] not in FINAL}
    ended_by_model = {i for i in waited if final[i]["status"] in {"succeeded", "failed"}}
    runs = drained.runs()
    assert runs == Counter(ended_by_model), "each of these ran once, and nothing that had ended did"
    scale = drained.tenant("north").call("GET", "/v1/models/golden/scale").json()
    assert (scale["queued"], scale["running"]) == (0, 0)
    return final


def _what_had_ended_is_as_it_was(drained: Drained, final: dict[str, dict[str, Any]]) -> None:
    crashes = {}
    for entry in drained.golden.jobs:
        was, now = entry["was"], final.get(entry["id"])
        if now is None:
            continue
        crashes[entry["name"]] = now["crashes"]
        for name in ("model", "version", "priority", "metadata", "created_at", "deadline_at"):
            assert now[name] == was[name], (entry["name"], name)
        for name in SEALED if was["status"] in FINAL else ():
            assert now[name] == was[name], (entry["name"], name)
    # Whoever ran on a worker that was killed is charged for it; who waited there is not.
    assert {name for name, count in crashes.items() if count} == {"running", "lost"}
    assert crashes["running"] == crashes["lost"] == 1


def _keys_still_find_their_jobs(drained: Drained) -> None:
    """The same request under the same key is the same job, also one of an earlier version."""
    found = 0
    for entry in drained.golden.jobs:
        if entry["key"] and entry["then"] != "erased":
            found += _replayed(drained, entry, "/v1/models/golden/jobs", "id")
    for entry in drained.golden.batches:
        found += _replayed(
            drained, {"tenant": "north", **entry}, "/v1/models/golden/jobs/batch", "batch"
        )
        counts = drained.tenant("north").call("GET", f"/v1/batches/{entry['id']}").json()
        assert counts["counts"]["succeeded"] == 3, counts
    assert found >= 14


def _replayed(drained: Drained, entry: dict[str, Any], path: str, name: str) -> int:
    api, headers = drained.tenant(entry["tenant"]), {"Idempotency-Key": entry["key"]}
    answer = api.call("POST", path, json=entry["body"], headers=headers)
    assert answer.headers.get("idempotent-replayed") == "true", answer.text
    assert answer.json()[name] == entry["id"]
    other = {**entry["body"], "priority": "low", "metadata": {"other": "one"}}
    refused = api.call("POST", path, json=other, headers=headers)
    assert refused.json()["code"] == "idempotency_conflict"
    return 1


def _the_dead_are_listed(drained: Drained) -> None:
    listed = drained.tenant("admin").call("GET", "/v1/admin/dead").json()["data"]
    wanted = {e["id"] for e in drained.golden.jobs if e["then"] in DEAD}
    assert {job["id"] for job in listed} == wanted - set(drained.golden.not_indexed())


def _receivers_were_told(drained: Drained, told: list[Told]) -> None:
    """What had not been told is, signed with the secret of back then, under one id each."""
    golden = drained.golden
    hooked = [entry for entry in golden.jobs if "webhook" in entry["body"]]
    batches = [entry for entry in golden.batches if "webhook" in entry["body"]]
    by_id = {each.headers["webhook-id"]: each.event for each in told}
    ends = Counter(e["data"]["id"] for e in by_id.values() if e["type"] != "job.started")
    wanted = {entry["id"] for entry in [*hooked, *batches]}
    wanted |= {each for batch in batches for each in batch["jobs"]}
    by_name = {entry["name"]: entry["id"] for entry in hooked}
    # One had been told already; a retry is kept for 30 days after its time.
    wanted -= {by_name.get("webhook-told")}
    if golden.age_s > 31 * DAY_S:
        wanted -= {by_name.get("webhook-later")}
    assert ends == Counter(wanted)
    for each in told:
        Webhook(golden.secret).verify(each.body, each.headers)


def _nothing_stays_behind(drained: Drained, ids: list[str]) -> None:
    by_id = {entry["id"]: entry["tenant"] for entry in drained.golden.jobs}
    for each in ids:
        api = drained.tenant(by_id.get(each, "north"))
        assert api.call("DELETE", f"/v1/jobs/{each}").status_code == 204
    left = leftovers(drained.redis_url)
    # A receiver that failed and was never called again leaves with the next one that fails.
    assert left.pop("failing", 0) <= (drained.golden.age_s > 31 * DAY_S)
    assert left == {}
    assert drained.wrong() == []

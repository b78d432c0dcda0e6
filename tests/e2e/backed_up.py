"""A Redis that is backed up while jobs come and go, is lost, and is put back."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import redis

from headrace.chaos.process import until
from headrace.chaos.stack import CHAOS_MODEL, Api, Stack
from tests.operate_page import PAGE, Command

from .folders import EXAMPLES
from .operated import Shell

ECHO = EXAMPLES / "echo"
#: What the page has a reader wait for.
NOT_REWRITING = "aof_rewrite_in_progress:0"
#: How often a copy is made again that a rewrite of the log has spoiled.
COPIES = 5


def missing(backup: Path) -> list[str]:
    """Return the files that the manifest of a copied log names and that are not there."""
    [manifest] = backup.glob("*.manifest")
    # file appendonly.aof.1.base.rdb seq 1 type b
    names = [line.split()[1] for line in manifest.read_text().splitlines()]
    assert len(names) >= 2, "a base, and what came since"
    return [name for name in names if not (backup / name).exists()]


class Load:
    """Submits one job after the other from a thread of its own, while entered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._thread = threading.Thread(target=self._submit, daemon=True)
        self._over = threading.Event()
        #: jobs that were acknowledged, in order
        self.accepted: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: len(self.accepted) > 30, 60, "a load")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Submit nothing more; again changes nothing."""
        self._over.set()
        self._thread.join()

    def _submit(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._over.wait(0.005):
                body = {"input": {"n": len(self.accepted)}}
                answer = client.post("/v1/models/chaos/jobs", json=body)
                assert answer.status_code == 202, answer.text
                self.accepted.append(answer.json()["id"])


class BackedUp:
    """What is there before, the way of the page, and what is there afterwards."""

    def __init__(self, stack: Stack, shell: Shell) -> None:
        self._stack, self._shell = stack, shell
        self._api = stack.api()
        self._worker = stack.worker()
        # No worker serves it before the disk is lost: its jobs are queued then.
        shell.run(f"HEADRACE_REDIS_URL={stack.redis_url} headrace worker --publish-cards {ECHO}")
        self._api.ready("chaos")
        self.load = Load(self._api.url)
        self._folder = ""
        self._running = ""
        self._queued: list[str] = []
        #: what had ended before the backup, as it was shown
        self._ended: dict[str, dict[str, Any]] = {}
        #: what was acknowledged before the backup
        self._acknowledged: list[str] = []
        self._restored: Api | None = None

    def does(self, command: Command) -> None:
        """Do what the page says next."""
        if command.asks_redis:
            self._ask(command.words)
        elif command.text.startswith("cp -R FOLDER"):
            self._copy(command.text.replace("FOLDER", self._folder))
        elif command.text.startswith("headrace up DIR"):
            self._lose_the_disk()
            self._restored = self._shell.up(command.text.replace("DIR", f"{CHAOS_MODEL} {ECHO}"))
        else:
            self._shell.run(command.text)

    def _ask(self, words: list[str]) -> None:
        with redis.Redis.from_url(self._stack.redis_url, decode_responses=True) as client:
            match words[:2]:
                case ["INFO", _]:
                    assert f"`{NOT_REWRITING}`" in PAGE
                    name, _, value = NOT_REWRITING.partition(":")
                    until(lambda: client.execute_command(*words)[name] == int(value), 60, name)
                case ["CONFIG", "GET"]:
                    self._folder = client.execute_command(*words)[words[2]]
                case _:
                    assert client.execute_command(*words) == "OK"

    def _copy(self, command: str) -> None:
        """Copy while jobs are in every state, and again where the page says that it has to be."""
        self._in_every_state()
        backup = self._shell.folder / "backup"
        for _ in range(COPIES):
            complained = self._shell.tried(command).returncode != 0
            if not complained and not missing(backup):
                return
            shutil.rmtree(backup)
        raise AssertionError(f"no whole copy in {COPIES} tries")

    def _in_every_state(self) -> None:
        api = self._api
        ended = [api.run("chaos", {"n": 1})["id"], api.run("chaos", {"do": "raise"})["id"]]
        self._queued = [api.submit("echo", {"message": n})["id"] for n in range(20)]
        ended.append(self._queued.pop())
        assert api.cancel(ended[-1]).status_code == 200
        self._ended = {each: api.get(each) for each in ended}
        statuses = [each["status"] for each in self._ended.values()]
        assert statuses == ["succeeded", "failed", "canceled"]
        self._running = api.submit("chaos", {"seconds": 5})["id"]
        api.reaches(self._running, "running", 60)
        # What the load has been told so far; more comes while it is copied.
        self._acknowledged = list(self.load.accepted)

    def _lose_the_disk(self) -> None:
        came = len(self.load.accepted)
        until(lambda: len(self.load.accepted) > came, 30, "jobs come until then")
        self.load.stop()
        for process in (self._worker, self._api.process):
            process.kill_tree()
        self._stack.redis.kill()
        shutil.rmtree(Path(self._folder) / "appendonlydir")

    def all_is_there(self) -> None:
        """Nothing that was acknowledged is missing, what had ended is as it was, the rest runs."""
        api = self._restored
        assert api is not None
        assert len(self._acknowledged) > 30
        assert {each: api.get(each) for each in self._ended} == self._ended
        # Whose worker is gone is missed first.
        assert api.finished(self._running, 90)["status"] == "succeeded"
        for job in [*self._queued, *self._acknowledged]:
            assert api.finished(job, 60)["status"] == "succeeded"
        assert api.run("echo", {"message": "more"})["status"] == "succeeded"
        assert api.process.stop(60) == 0

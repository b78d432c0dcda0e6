"""One who does what docs/operate.md says, command by command, and looks at what comes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import yaml

from headrace.chaos.process import until
from headrace.chaos.receiver import SECRET
from headrace.chaos.stack import Api, Stack
from tests.operate_page import values_file

from .folders import EXAMPLES, MODELS
from .operated import Gone, Shell

Look = Callable[[str], None]
#: Prints the id of the key that the page makes for a shop.
_SHOP = "next(key['id'] for key in json.load(sys.stdin) if key['name'] == 'shop-backend')"
_ID = f'$(headrace keys ls --json | python3 -c "import json, sys; print({_SHOP})")'


class Reader:
    """A shell, a Headrace that it reaches, and something in it for each command to find."""

    def __init__(self, stack: Stack, receiver: Gone) -> None:
        self._receiver = receiver
        self.api = stack.api()
        stack.worker(EXAMPLES / "echo")
        stack.worker(MODELS / "actor")
        stack.webhooks()
        variables = {"HEADRACE_REDIS_URL": stack.redis_url, "HEADRACE_URL": self.api.url}
        # `headrace up` by itself serves the model of the folder that it is called in.
        shutil.copytree(EXAMPLES / "echo", stack.folder / "echo")
        self.shell = Shell(stack, stack.folder / "echo", **variables)
        self.api.ready("echo", "actor")
        self.failed = self._one_that_failed(str(stack.folder / "journal"))
        # No worker serves it: what is submitted waits. It is what `helm test` would submit.
        self.shell.run(f"headrace worker --publish-cards {EXAMPLES / 'embed'}")
        given = yaml.safe_load(values_file())["models"]["embed"]["testInput"]
        self.waits = self.api.submit("embed", given)["id"]
        self._kept = self._shop_key = ""
        #: By the beginning of a command what comes of it; the longest beginning counts.
        self._looks: dict[str, Look] = {
            "headrace doctor": self._finds("0 errors"),
            "export HEADRACE_API_KEY=": self._a_key_is_needed,
            "headrace keys create": self._the_shop_has_a_key,
            "headrace keys ls": self._finds("operator", "shop-backend"),
            "headrace keys revoke": self._the_shop_has_none,
            "headrace webhooks secret": self._finds("whsec_"),
            "headrace models ls": self._models,
            "headrace submit": self._finds('"message": "hello"'),
            "curl": self._scale,
            "headrace jobs ls": self._waiting,
            "headrace dead ls": self._finds(self.failed, "actor@1"),
            "headrace dead get": self._finds("attempt 1 on "),
            "headrace dead retry": self._runs_again,
            "headrace dead retry --webhooks": self._told_again,
            "headrace webhooks ls": self._finds("disabled"),
            "headrace webhooks endpoints ls": self._finds(receiver.url, "disabled"),
            "tar": self._finds(),
            "mkdir": self._finds(),
        }

    def _one_that_failed(self, journal: str) -> str:
        """Have a job fail at its first attempt, and its receiver be gone."""
        once = {"do": "raise_once", "name": "once", "journal": journal}
        hook = {"url": self._receiver.url, "secret": SECRET}
        job = str(self.api.run("actor", once, webhook=hook)["id"])
        assert self.api.get(job)["status"] == "failed"

        def held_back() -> bool:
            told = self.api.call("GET", f"/v1/jobs/{job}/webhooks").json()["data"]
            return [each["status"] for each in told] == ["disabled"]

        until(held_back, 60, "its webhook is held back")
        return job

    def does(self, command: str) -> None:
        """Do it, with what stands in capitals filled in, and look."""
        if command.startswith("headrace up"):
            self._up(command.replace(" DIR", f" {self.shell.folder}"))
            return
        fits = [each for each in self._looks if command.startswith(each)]
        assert fits, f"nobody has said what comes of {command!r}"
        if "dead retry --webhooks" in command:
            self._receiver.status = 200
        said = self.shell.run(command.replace(" ID", f" {_ID}").replace(" JOB", f" {self.failed}"))
        self._looks[max(fits, key=len)](said)

    def _up(self, command: str) -> None:
        """Start it, and stop it again; a job that it was left with is there at the next start."""
        api = self.shell.up(command)
        if not self._kept:
            self._kept = str(api.run("echo", {"message": "kept"})["id"])
        assert api.get(self._kept)["output"] == {"message": "kept"}
        assert api.process.stop(60) == 0

    def _mine(self) -> Api:
        """The API with the key that the shell has."""
        key = self.shell.run('echo "${HEADRACE_API_KEY:-}"').strip()
        return self.api.with_key(key or None)

    def _finds(self, *words: str) -> Look:
        def look(said: str) -> None:
            assert [word for word in words if word not in said] == [], said

        return look

    def _a_key_is_needed(self, said: str) -> None:
        until(lambda: self.api.status("/v1/models") == 401, 60, "no request without a key")
        assert self._mine().status("/v1/admin/dead") == 200

    def _the_shop_has_a_key(self, said: str) -> None:
        self._shop_key = said.strip()
        shop = self.api.with_key(self._shop_key)
        until(lambda: shop.status("/v1/models") == 200, 60, "the shop's key works")

    def _the_shop_has_none(self, said: str) -> None:
        shop = self.api.with_key(self._shop_key)
        until(lambda: shop.status("/v1/models") == 401, 60, "the shop's key works no more")
        assert self._mine().status("/v1/models") == 200

    def _models(self, said: str) -> None:
        _, *rows = [line.split() for line in said.splitlines()]
        assert {row[0]: row[1] for row in rows} == {
            "echo": "ready",
            "actor": "ready",
            "embed": "cold",
        }

    def _scale(self, said: str) -> None:
        told = json.loads(said)
        assert told["workers_ready"] == 1
        assert {"queued", "running", "backlog_seconds", "wanted"} <= set(told)

    def _waiting(self, said: str) -> None:
        [job] = json.loads(said)
        assert (job["id"], job["version"], job["status"]) == (self.waits, "1", "queued")

    def _runs_again(self, said: str) -> None:
        [line] = said.splitlines()
        assert line.startswith(f"{self.failed} retried ")
        again = self._mine().finished(line.split()[-1], 60)
        assert (again["status"], again["retry_of"]) == ("succeeded", self.failed)

    def _told_again(self, said: str) -> None:
        until(lambda: self.failed in self._receiver.told, 60, "the webhook is told")

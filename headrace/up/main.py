"""From settings and folders to running processes, and back to none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from headrace.data_folder import FolderLock
from headrace.embedded_redis import RedisServer, find_server
from headrace.errors import StartRefused
from headrace.settings import UpSettings
from headrace.up.check import check_models
from headrace.up.child import Child
from headrace.up.commands import (
    ServedModel,
    api_command,
    redis_command,
    webhooks_command,
    worker_command,
)
from headrace.up.crew import Crew
from headrace.up.figures import Figures, ModelFigures
from headrace.up.ports import base_url, claimable_port
from headrace.up.screen import Row, Screen, View, curl_line, screen
from headrace.up.stop import Stop
from telemetry import traces

_DRAW_EVERY_S = 0.2
#: Ended by a second Ctrl-C, before running work was finished.
HURRIED = 130


def run(settings: UpSettings, models: Sequence[ServedModel]) -> int:
    """Hold the data folder and run everything until a signal; return the exit code."""
    _refuse_cluster_for_rq(settings)
    try:
        traces.check()
    except traces.TracingRefused as error:
        raise StartRefused(str(error)) from error
    with FolderLock(settings.folder) as lock:
        port = claimable_port(settings.api_host, settings.api_port)
        server = None if settings.redis_url else find_server(settings.folder.written_by())
        crew = _crew(settings, models, port, server, lock.fd)
        url = base_url(settings.api_host, port)
        stamp = (lambda: settings.folder.stamp(server)) if server else None
        household = Household(crew, models, url=url, logs=settings.folder.logs)
        return asyncio.run(household.live(screen(), stamp))


def _refuse_cluster_for_rq(settings: UpSettings) -> None:
    name = "HEADRACE_REDIS_URL" if settings.rq_redis_url is None else "HEADRACE_RQ_REDIS_URL"
    url = settings.rq_redis_url or settings.queue_url
    if url.partition("://")[0].endswith("+cluster"):
        raise StartRefused(
            f"{name} is a Cluster, which RQ, which times the retries of webhooks, cannot use: set "
            "HEADRACE_RQ_REDIS_URL to a redis://, rediss://, unix:// or redis+sentinel:// address"
        )


def _crew(
    settings: UpSettings,
    models: Sequence[ServedModel],
    port: int,
    server: RedisServer | None,
    lock: int,
) -> Crew:
    redis = None
    if server is not None:
        if settings.durability == "replicated":
            raise StartRefused(
                "HEADRACE_DURABILITY is replicated, and the Redis that headrace up starts has no "
                "replica: set HEADRACE_REDIS_URL, or use always or everysec"
            )
        redis = Child(
            redis_command(server, settings.folder, durability=settings.durability, lock=lock)
        )
    workers = [
        Child(worker_command(settings, model, number)) for number, model in enumerate(models)
    ]
    api = Child(api_command(settings, port, list(models)))
    webhooks = Child(webhooks_command(settings))
    return Crew(redis, api, webhooks, workers, drain_s=settings.drain_s)


class Household:
    """The crew, what is known about its models, and what a person is told of both."""

    def __init__(self, crew: Crew, models: Sequence[ServedModel], *, url: str, logs: Path) -> None:
        self._crew = crew
        self._models = list(models)
        self._url = url
        self._logs = logs
        self._figures = Figures(url)
        self._announced: set[str] = set()

    async def live(self, shown: Screen, redis_is_up: Callable[[], None] | None) -> int:
        """Start, stay until asked to stop, stop in order; return the exit code."""
        stop = Stop()
        with stop.on_signals(), shown:
            shown.say(f"serving {self._url} (docs at {self._url}/docs), logs in {self._logs}")
            async with asyncio.TaskGroup() as group:
                try:
                    drawing = group.create_task(self._draw(shown))
                    asides = [
                        group.create_task(self._crew.keep_house()),
                        group.create_task(
                            self._figures.follow([model.name for model in self._models])
                        ),
                        group.create_task(_or_refuse(stop, check_models(self._models))),
                        group.create_task(_or_refuse(stop, self._start(group, redis_is_up))),
                    ]
                    await stop.asked.wait()
                    for task in asides:
                        task.cancel()
                    if stop.reason is None:
                        shown.say("stopping: running work is finished first")
                    await self._crew.stop(stop.hurried)
                    self._show(shown)
                    drawing.cancel()
                finally:
                    # Also when something here is broken: nothing may stay behind.
                    self._crew.kill()
        if stop.reason is not None:
            raise StartRefused(stop.reason)
        return HURRIED if stop.hurried.is_set() else 0

    async def _start(
        self, group: asyncio.TaskGroup, redis_is_up: Callable[[], None] | None
    ) -> None:
        await self._crew.start_redis(group)
        if redis_is_up is not None:
            redis_is_up()
        await self._crew.start_rest(group)

    async def _draw(self, shown: Screen) -> None:
        while True:
            self._show(shown)
            await asyncio.sleep(_DRAW_EVERY_S)

    def _show(self, shown: Screen) -> None:
        rows = tuple(
            Row(child.name, child.state, child.pid, child.restarts, child.ended)
            for child in self._crew.children
        )
        shown.show(View(rows, self._figures.models))
        self._announce(shown)

    def _announce(self, shown: Screen) -> None:
        if self._figures.needs_key and "key" not in self._announced:
            self._announced.add("key")
            shown.say(f"{self._url} wants a key: set HEADRACE_API_KEY to see its models here")
        served = {model.name for model in self._models}
        for model in self._figures.models:
            if model.state != "ready" or model.name not in served - self._announced:
                continue
            self._announced.add(model.name)
            shown.say(f"{model.name} is ready, {self._how_to_try(model)}")

    def _how_to_try(self, model: ModelFigures) -> str:
        if model.example is None:
            return f"its card is at {self._url}/v1/models/{model.name}"
        needs_key = self._figures.sends_key
        return f"try:\n{curl_line(self._url, model.name, model.example, needs_key=needs_key)}"


async def _or_refuse(stop: Stop, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except StartRefused as error:
        stop.refuse(str(error))

"""What can be wrong with jobs, with workers, and with what waits for them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from headrace.chaos.stack import CODE, Api, until

from .lookout import Lookout
from .sites import Site, Worker

#: What the clock of one API is late by, in seconds.
_LATE_S = 4000
_LATE_CLOCK = f"""
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() - {_LATE_S}
time.time_ns = lambda: _time_ns() - {_LATE_S} * 10**9
"""


def queue(lookout: Lookout) -> None:
    """One API, and three models with a worker each; each has its own troubles."""
    with Site("queue", lookout) as site, ThreadPoolExecutor(3) as pool, site.reads(site.api()):
        lines = [pool.submit(line, site) for line in (lonely, busy, wrong)]
        for each in lines:
            each.result()


def lonely(site: Site) -> None:
    """A model whose worker comes late, and has a bad device."""
    # What is published last is what unpinned jobs get.
    site.publish("lonely", "2")
    site.publish("lonely")
    with site.tells("HeadraceNoReadyWorkers", model="lonely") as fires:
        site.post("lonely", 5, {})
        try:
            fires()
        finally:
            worker = site.worker("lonely")
    one_job_is_old(site)
    with ThreadPoolExecutor(1) as pool:
        short = pool.submit(memory_is_short, site)
        # It resolves half an hour after: something else may happen meanwhile.
        until(lambda: site.lookout.mended("HeadraceOutOfMemory"), 180, "enough memory")
        the_engine_keeps_dying(site, worker)
        short.result()


def one_job_is_old(site: Site) -> None:
    """It waits for a version that nobody serves, and its id was minted more than an hour ago."""
    late = _late_api(site)
    with site.tells("HeadraceQueueOldest", model="lonely") as fires:
        job = late.submit("lonely@2", {})
        fires()
        assert site.apis[0].cancel(job["id"]).status_code == 200


def _late_api(site: Site) -> Api:
    folder = site.stack.folder / "late"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_LATE_CLOCK)
    return site.stack.api(environment={"PYTHONPATH": f"{folder}{os.pathsep}{CODE}"})


def memory_is_short(site: Site) -> None:
    """One batch after the other finds the device full, and fits when it is tried again."""
    with site.tells("HeadraceOutOfMemory", model="lonely") as fires:
        for _ in range(7):
            job = site.apis[0].run("lonely", {"do": "oom_once"})
            assert job["status"] == "succeeded"
        fires()


def the_engine_keeps_dying(site: Site, worker: Worker) -> None:
    """The machine has no memory left for it: it is killed, also while it loads the model."""
    with site.tells("HeadraceEngineRestarting", instance=worker.instance) as fires:
        pid = 0
        for _ in range(5):
            pid = until(lambda last=pid: _another(worker.process.engine(), last))
            os.kill(pid, signal.SIGKILL)
        fires()
    worker.ready()


def _another(engine: int, last: int) -> int:
    return engine if engine != last else 0


def busy(site: Site) -> None:
    """A model whose worker is held up, so that its queue grows, waits, and expires."""
    site.worker("busy")
    # What a job costs is learned from this one.
    site.apis[0].run("busy", {"seconds": 4})
    with site.held("busy", "backlog"):
        the_backlog_grows(site)
        the_backlog_is_long(site)
    until(lambda: _queued(site, "busy") == 0, 60, "the backlog is worked off")
    jobs_expire(site)


def the_backlog_grows(site: Site) -> None:
    """More comes than goes, and then no more."""
    with site.tells("HeadraceBacklogGrowing", model="busy") as fires:
        site.post("busy", 90, {})
        with site.jobs("busy", {}, 2):
            fires()


def the_backlog_is_long(site: Site) -> None:
    """A burst of an hour's work; it is let run off."""
    with site.tells("HeadraceBacklogTooLong", model="busy") as fires:
        site.post("busy", 800, {})
        fires()
        site.open("backlog")


def _queued(site: Site, model: str) -> int:
    answer = site.apis[0].call("GET", f"/v1/models/{model}/scale")
    return int(answer.json()["queued"])


def jobs_expire(site: Site) -> None:
    """They may not wait for longer than a second, and the worker is held up."""
    with (
        site.tells("HeadraceJobsExpiring", model="busy") as fires,
        site.held("busy", "expiring"),
        site.jobs("busy", {}, 4, deadline_s=1, priority="high"),
    ):
        fires()


def wrong(site: Site) -> None:
    """A model that fails: at first always, then for one job in five."""
    site.worker("wrong")
    with (
        site.tells("HeadraceMostJobsFailing", model="wrong") as fires,
        site.jobs("wrong", {"do": "raise"}, 4),
    ):
        fires()
    with (
        site.tells("HeadraceJobsFailing", model="wrong") as fires,
        site.jobs("wrong", {"do": "raise"}, 2),
        site.jobs("wrong", {}, 8),
    ):
        fires()

"""What can be wrong with single processes: cut off, killed, of another version."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headrace.chaos.proxy import Proxy
from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import CODE, until

from .lookout import Lookout
from .sites import Site, Worker

MODEL = "fleet"
#: Seconds after which a worker that is not heard of is taken for dead.
_LIMIT_S = "2"
#: Of ten tries at a delivery, the last comes after so many seconds instead of days.
_SCALE = "0.00001"


def fleet(lookout: Lookout) -> None:
    """Two workers of one model, one of them behind a way to Redis that may break."""
    site = Site("fleet", lookout, beat_limit_s=_LIMIT_S)
    with (
        site,
        Proxy(site.stack.redis_url, "worker") as proxy,
        ThreadPoolExecutor(2) as pool,
        site.reads(site.api()),
    ):
        apart = site.worker(MODEL, redis_url=proxy.url)
        # What lasts for an hour, or resolves an hour after, goes on beside the rest.
        long = (a_delivery_is_given_up, one_worker_is_of_another_version)
        lasting = [pool.submit(each, site) for each in long]
        other = late_results_come(site, proxy, apart)
        a_worker_is_gone(site, other)
        for each in lasting:
            each.result()


def late_results_come(site: Site, proxy: Proxy, apart: Worker) -> Worker:
    """A worker is cut off with a whole batch, which another runs; then it is back."""
    query = site.lookout.scrapes.one
    done = f'sum(headrace_batch_size_sum{{instance="{apart.instance}"}})'
    lost = 'sum(headrace_requeues_total{namespace="fleet", reason="worker_lost"})'
    with site.held(MODEL, "apart", 16) as jobs:
        before = query(done) or 0
        other = site.worker(MODEL)
        with site.tells("HeadraceStaleWrites") as fires:
            proxy.away(True)
            until(lambda: (query(lost) or 0) >= len(jobs), 60, "its jobs have passed to others")
            site.open("apart")
            until(lambda: (query(done) or 0) > before + 10, 60, "it has the results of its batch")
            proxy.away(False)
            fires()
    return other


def a_worker_is_gone(site: Site, worker: Worker) -> None:
    """It is killed, and started again where it was."""
    with site.tells("HeadraceTargetDown", instance=worker.instance) as fires:
        worker.process.kill_tree()
        try:
            fires()
        finally:
            worker.process.start()
            worker.ready()


def one_worker_is_of_another_version(site: Site) -> None:
    """Python finds another version of Headrace installed, and the process says so."""
    folder = site.stack.folder / "older" / "headrace-0.0.1.dist-info"
    folder.mkdir(parents=True)
    text = "Metadata-Version: 2.1\nName: headrace\nVersion: 0.0.1\n"
    (folder / "METADATA").write_text(text)
    older = {"PYTHONPATH": f"{folder.parent}{os.pathsep}{CODE}"}
    with site.tells("HeadraceVersionsDiffer") as fires:
        worker = site.worker("older", environment=older)
        try:
            fires()
        finally:
            site.retire(worker)


def a_delivery_is_given_up(site: Site) -> None:
    """Its receiver fails each of the ten tries."""
    book = Path(site.stack.folder / "refused.jsonl")
    with Receiver(book, fails=2.0) as receiver:
        site.sends("sender", "retries", webhook_delay_scale=_SCALE)
        with site.tells("HeadraceWebhooksGivenUp") as fires:
            answer = site.apis[0].post(MODEL, {}, webhook=receiver.webhook())
            assert answer.status_code == 202, answer.text
            fires()

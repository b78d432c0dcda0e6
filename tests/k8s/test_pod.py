"""What this kubelet says of a pod, and to whom."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headrace.chaos.process import alive, until

from .container import Place
from .manifests import Manifests
from .pod import Pod


def test_a_pod_that_goes_while_it_is_looked_into_is_not_called_ready(tmp_path: Path) -> None:
    template = {
        "metadata": {"labels": {}},
        "spec": {"containers": [{"command": ["sleep", "60"]}], "terminationGracePeriodSeconds": 20},
    }
    place = Place("pod", "127.0.0.1", tmp_path, Manifests([]), services={}, volumes={})
    pod, asked, goes = Pod(template, place), threading.Event(), threading.Event()
    told: list[bool] = []

    def look(_: Pod) -> None:
        asked.set()
        assert goes.wait(20)

    pod.truth = look
    pod.on_ready = lambda _, ready: told.append(ready)
    pod.start()
    with ThreadPoolExecutor(1) as pool:
        assert asked.wait(20)
        ended = pool.submit(pod.delete)
        until(lambda: not alive(pod.pid), 20, "it has ended")
        goes.set()
        assert ended.result(20).exit_code == -15
    # A Service that heard of it now would lead to nobody.
    assert told == []
    assert pod.troubles == []

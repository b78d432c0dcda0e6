"""The engine process from its birth to its end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.processes import alive
from worker import wire

ECHO = """
max_batch = 8
def load(self, ctx): pass
def predict(self, batch, ctx):
    return [{"value": each.value} for each in batch]
"""


def test_a_model_is_loaded_warmed_up_and_described(ready):
    engine = ready(
        """
        max_batch = 4
        timeout_s = 12
        sizes = []
        def load(self, ctx):
            self.max_wait_ms = 7
            assert (ctx.device, ctx.settings) == ("cpu", {"depth": 3})
            assert (ctx.weights / "model.py").exists()
        def predict(self, batch, ctx):
            self.sizes.append(len(batch))
            return [{"value": self.sizes.count(4)} for _ in batch]
        """,
        settings={"depth": 3},
        shards=[17],
    )
    loaded = engine.first(wire.Loaded)
    assert (loaded.device, loaded.max_batch, loaded.max_wait_ms) == ("cpu", 4, 7)
    assert (loaded.timeout_s, loaded.retry_backoff_s) == (12, 5)
    card = json.loads(loaded.card)
    assert (card["name"], card["shards"], card["limits"]["max_wait_ms"]) == ("model0", [17], 7)
    assert engine.all(wire.Began) == []
    assert engine.run(1)[0] > 0
    assert engine.stop() == wire.EXIT_STOPPED


def test_torch_is_not_imported_for_a_model_that_does_without(ready):
    engine = ready(
        """
        def load(self, ctx): pass
        def predict(self, batch, ctx): return [{"value": "torch" in sys.modules}]
        """,
        "import sys",
    )
    assert engine.run(1) == [0]
    engine.send(wire.Probe(5))
    assert engine.first(wire.ProbeOk).number == 5


def test_with_torch_a_kernel_runs_for_a_probe_and_threads_are_set(ready):
    pytest.importorskip("torch")
    engine = ready(
        """
        def load(self, ctx):
            assert ctx.dtype is torch.float32
            self.layer = torch.nn.Linear(10, 10)
        def predict(self, batch, ctx): return [{"value": torch.get_num_threads()}]
        """,
        "import torch",
        threads=1,
    )
    assert engine.run(1) == [1]
    assert engine.first(wire.Loaded).weights_bytes == 110 * 4
    engine.send(wire.Probe(5))
    assert engine.first(wire.ProbeOk).number == 5


@pytest.mark.parametrize(
    ("body", "head", "said"),
    [
        ("def load(self, ctx): raise OSError('no weights')", "", "load raised OSError: no weights"),
        ("def load(self, ctx): pass", "import nosuchpackage", "nosuchpackage"),
        ("def load(self, ctx): pass", "raise SystemExit(0)", "SystemExit"),
        ("example = {'value': 1}\ndef load(self, ctx): pass", "", "warm-up failed: predict raised"),
    ],
)
def test_a_model_that_cannot_be_served_says_why(spawn, body, head, said):
    predict = "\ndef predict(self, batch, ctx): raise ValueError('never')"
    engine = spawn(body + predict, head)
    assert said in engine.first(wire.LoadFailed).detail
    assert engine.exit() == wire.EXIT_LOAD_FAILED


def test_a_derived_example_that_means_nothing_to_the_model_is_only_a_warning(ready):
    engine = ready(
        """
        def load(self, ctx): pass
        def predict(self, batch, ctx):
            if batch[0].value == 1:
                raise ValueError("not a real one")
            return [{"value": 2}]
        """
    )
    assert "warm_up_failed" in engine.errors()
    assert engine.run(3) == [2]


def test_a_device_that_is_not_there_is_refused(spawn):
    pytest.importorskip("torch")
    engine = spawn(ECHO, device="cuda")
    assert "HEADRACE_DEVICE=cpu" in engine.first(wire.LoadFailed).detail


def _said(engine, words, ask=lambda: None):
    """Wait until its standard error has these words, asking for them again and again."""
    end = time.monotonic() + 20
    while words not in engine.errors():
        assert time.monotonic() < end, engine.errors()
        ask()
        time.sleep(0.2)


def test_a_stop_while_it_loads_is_at_once(spawn):
    engine = spawn(
        """
        def load(self, ctx):
            print("loading", flush=True)
            time.sleep(60)
        def predict(self, batch, ctx): ...
        """,
        "import time",
    )
    _said(engine, "loading")
    began = time.monotonic()
    assert engine.stop() == wire.EXIT_STOPPED
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_when_the_feeder_hangs_up(ready, busy):
    engine = ready(
        """
        def load(self, ctx): pass
        def predict(self, batch, ctx):
            time.sleep(60 if batch[0].value > 1 else 0)
            return [{"value": 1}]
        """,
        "import time",
    )
    if busy:
        engine.submit(2, started=True)
        engine.first(wire.Began)
    engine.socket.close()
    assert engine.process.wait(5) == wire.EXIT_STOPPED


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child to its parent")
def test_it_is_killed_with_its_parent_although_the_socket_lives(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    body = "\n".join(f"    {line}" for line in ECHO.splitlines())
    (folder / "model.py").write_text(
        "from pydantic import BaseModel\nclass Input(BaseModel):\n    value: int = 1\n"
        f"class Output(Input): ...\nclass Model:\n{body}"
    )
    parent = (
        "import socket, subprocess, sys, time\n"
        "from worker import channel, wire\n"
        "ours, theirs = socket.socketpair()\n"
        "keeper = subprocess.Popen(['sleep', '30'], pass_fds=[ours.fileno()])\n"
        "child = subprocess.Popen([sys.executable, '-m', 'worker.engine', '--fd',"
        " str(theirs.fileno())], pass_fds=[theirs.fileno()])\n"
        f"ours.sendall(channel.pack([wire.Load({str(folder)!r}, 'm', '1')]))\n"
        "ours.recv(4)\n"
        "print(child.pid, keeper.pid, flush=True)\n"
        "time.sleep(30)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        child, keeper = map(int, process.stdout.readline().split())
        process.kill()
    end = time.monotonic() + 5
    while alive(child) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(keeper, signal.SIGKILL)
    assert not alive(child)


def test_signals_of_the_terminal_are_left_to_the_parent(ready):
    engine = ready(ECHO)
    for each in (signal.SIGINT, signal.SIGTERM):
        engine.process.send_signal(each)
    assert engine.run(4) == [4]


def test_stacks_are_dumped_on_request(ready):
    engine = ready(
        """
        def load(self, ctx): pass
        def predict(self, batch, ctx):
            self.hang_here(batch[0].value - 1)
            return [{"value": 1}]
        def hang_here(self, seconds): time.sleep(seconds)
        """,
        "import time",
    )
    engine.submit(30, started=True)
    engine.first(wire.Began)
    # It has said that the batch begins, and may not have come to where it hangs.
    _said(engine, "hang_here", lambda: engine.process.send_signal(signal.SIGUSR1))
    assert engine.process.poll() is None


def test_what_the_model_prints_or_closes_breaks_nothing(ready):
    engine = ready(
        """
        def load(self, ctx): print("while loading")
        def predict(self, batch, ctx):
            print("printed", flush=True)
            os.write(1, b"written\\n")
            sys.stdout.write("without an end")
            return [{"value": each.value} for each in batch]
        """,
        "import os, sys",
    )
    assert engine.run(3) == [3]
    assert engine.stop() == wire.EXIT_STOPPED
    for each in ("while loading", "printed", "written", "without an end"):
        assert each in engine.errors()


def test_a_feeder_that_speaks_nonsense_ends_it(spawn, ready):
    engine = ready(ECHO)
    engine.socket.sendall(b"\0\0\0\x01\xc1")
    assert engine.first(wire.Fatal).detail.startswith("BrokenStream")
    assert engine.exit() == wire.EXIT_FATAL


def test_a_frame_out_of_place_is_only_logged(spawn):
    engine = spawn(ECHO)
    engine.first(wire.Loaded)
    engine.send(wire.Load("/again", "again", "1"))
    assert engine.run(2) == [2]
    assert "unexpected_frame" in engine.errors()

"""The worker's command: what it refuses, and how it names itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker.assembly import default_name
from worker.lock import AlreadyRunning, FolderRefused, engine_lock
from worker.main import main
from worker.settings import WorkerSettings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("HEADRACE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.py").write_text("")
    return folder


def test_a_folder_that_is_none_is_refused_with_a_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_setting_that_makes_no_sense_is_refused_by_name(model, capsys, monkeypatch):
    monkeypatch.setenv("HEADRACE_DEVICE", "quantum")
    assert main([str(model)]) == 2
    assert "HEADRACE_DEVICE" in capsys.readouterr().err


def test_an_unknown_setting_is_refused_with_the_one_that_was_meant(model, capsys, monkeypatch):
    monkeypatch.setenv("HEADRACE_DEVISE", "cpu")
    assert main([str(model)]) == 2
    assert "HEADRACE_DEVICE" in capsys.readouterr().err


def test_a_second_worker_on_the_same_device_is_refused(model, capsys, tmp_path):
    with engine_lock(tmp_path / "data", "tiny", "auto"):
        assert main([str(model)]) == 1
    assert "running already" in capsys.readouterr().err


def test_a_redis_that_is_no_redis_url_is_refused(model, capsys, monkeypatch):
    monkeypatch.setenv("HEADRACE_REDIS_URL", "http://127.0.0.1")
    assert main([str(model)]) == 2
    assert "HEADRACE_REDIS_URL" in capsys.readouterr().err


def test_a_lock_is_of_one_model_and_device_and_ends_with_its_holder(tmp_path):
    with engine_lock(tmp_path, "a", "cuda:0"):
        with engine_lock(tmp_path, "a", "cuda:1"), engine_lock(tmp_path, "b", "cuda:0"):
            pass
        with (
            pytest.raises(AlreadyRunning, match=str(os.getpid())),
            engine_lock(tmp_path, "a", "cuda:0"),
        ):
            pass
    with engine_lock(tmp_path, "a", "cuda:0"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(FolderRefused, match="set HEADRACE_DATA_DIR"),
        engine_lock(tmp_path / "file" / "data", "a", "cpu"),
    ):
        pass


def test_a_name_is_the_same_after_a_restart_and_another_in_another_folder(tmp_path):
    first = WorkerSettings(data_dir=tmp_path / "a", device="cuda:0")
    other = WorkerSettings(data_dir=tmp_path / "b", device="cuda:0")
    assert default_name(first, "embed") == default_name(first, "embed")
    assert default_name(first, "embed") != default_name(other, "embed")
    assert "-embed-cuda0-" in default_name(first, "embed")
    assert ":" not in default_name(first, "embed")


def test_the_feeder_never_loads_torch():
    code = "import sys, worker.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_several_folders_become_a_process_each_and_end_together(tmp_path, model):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.py").write_text("")
    environment = {**os.environ, "HEADRACE_REDIS_URL": f"unix://{tmp_path}/nobody.sock"}
    command = [sys.executable, "-P", "-m", "worker", str(model), str(other)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        lines = []
        while sum("engine_spawned" in line for line in lines) < 2:
            lines.append(worker.stderr.readline())
            assert lines[-1], "".join(lines)
        worker.send_signal(signal.SIGTERM)
        rest = worker.stderr.read()
        assert worker.wait(30) in (0, 1)
    assert rest.count('"draining"') == 2


def test_the_processes_of_several_folders_end_with_the_one_that_started_them(tmp_path, model):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.py").write_text("")
    environment = {**os.environ, "HEADRACE_REDIS_URL": f"unix://{tmp_path}/nobody.sock"}
    command = [sys.executable, "-P", "-m", "worker", str(model), str(other)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        lines = []
        while sum("engine_spawned" in line for line in lines) < 2:
            lines.append(worker.stderr.readline())
            assert lines[-1], "".join(lines)
        worker.kill()
        # The end of the stream: nobody of the whole tree is left to write.
        worker.stderr.read()

"""What stops `headrace up` before anything runs: exit code 2 and one sentence."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.data_folder import DataFolder, FolderLock
from headrace.embedded_redis import RedisServer

ECHO = Path(__file__).parents[2] / "examples" / "echo"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hr-") as path:
        monkeypatch.delenv("HEADRACE_REDIS_URL", raising=False)
        monkeypatch.setenv("HEADRACE_DATA_DIR", path)
        monkeypatch.setenv("HEADRACE_API_PORT", "0")
        yield Path(path)


def refused(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["up", *map(str, words)])
    assert done.exit_code == 2, (done.output, done.exception)
    return str(done.stderr)


def test_no_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no model.py here: give a model folder" in refused()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert f"There is no folder {tmp_path / 'none'}." in refused(tmp_path / "none")


def test_two_models_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "echo").mkdir()
    (tmp_path / "echo" / "model.py").write_text("")
    assert "are both named echo" in refused(ECHO, tmp_path / "echo")


def test_a_model_that_cannot_be_served(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "model.py").write_text("class Input: pass")
    said = refused(folder)
    assert said.startswith("headrace: wrong/model.py: Input is not a Pydantic model")
    assert len(said.splitlines()) == 1


def test_a_folder_that_another_up_holds(data: Path) -> None:
    with FolderLock(DataFolder(data.resolve())):
        assert f"already runs on {data.resolve()} (pid {os.getpid()})" in refused(ECHO)


def test_data_of_a_newer_redis(data: Path) -> None:
    folder = DataFolder(data.resolve())
    folder.make()
    folder.stamp(RedisServer(path="", product="redis", version=(99, 0, 0)))
    assert "reads redis 99.0.0 data" in refused(ECHO)


def test_a_port_in_use(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} on 127.0.0.1 cannot be used" in refused(ECHO, "--port", port)


def test_an_unknown_setting(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_API_PROT", "1")
    assert "HEADRACE_API_PROT is not a setting. Did you mean HEADRACE_API_PORT?" in refused(ECHO)


def test_replicated_without_a_replica(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_DURABILITY", "replicated")
    assert "has no replica" in refused(ECHO)


@pytest.mark.parametrize("rq", [None, "redis+cluster://127.0.0.1:2"])
def test_a_cluster_for_rq(data: Path, monkeypatch: pytest.MonkeyPatch, rq: str | None) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_URL", "rediss+cluster://127.0.0.1:1")
    if rq is not None:
        monkeypatch.setenv("HEADRACE_RQ_REDIS_URL", rq)
    said = refused(ECHO)
    assert f"HEADRACE_{'' if rq is None else 'RQ_'}REDIS_URL is a Cluster" in said
    assert "set HEADRACE_RQ_REDIS_URL to a redis://" in said


def test_an_api_that_refuses_its_address(data: Path) -> None:
    said = refused(ECHO, "--host", "0.0.0.0")
    assert "api does not start" in said
    assert "There is no API key" in said

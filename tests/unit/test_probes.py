import ast
import asyncio
from pathlib import Path

import aiohttp
import pytest

from telemetry.exposition import Exposition
from telemetry.probes import ProbeServer
from telemetry.queue_figures import QueueCollector, QueueFigures, from_loop


async def get(port, path):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.read(), answer.headers["Content-Type"]


async def healthy():
    return 200, {"status": "ready"}


async def sick():
    return 503, {"status": "unready", "reason": "no kernel ran for 12 s"}


async def test_a_probe_answers_its_status_and_its_reason():
    async with ProbeServer(0, {"/livez": healthy, "/healthz": sick}) as server:
        assert (await get(server.port, "/livez"))[:2] == (200, b'{"status": "ready"}')
        status, body, _ = await get(server.port, "/healthz")
    assert status == 503
    assert b"no kernel ran" in body


async def test_an_unknown_path_is_404():
    async with ProbeServer(0, {}) as server:
        assert (await get(server.port, "/metrics"))[0] == 404


async def test_a_scrape_may_read_through_the_same_loop():
    async def read():
        await asyncio.sleep(0)
        return [QueueFigures(model="echo", queued=3, running=0, workers_ready=1)]

    exposition = Exposition(QueueCollector(from_loop(asyncio.get_running_loop(), read)))
    async with ProbeServer(0, {}, exposition=exposition) as server:
        status, body, content_type = await get(server.port, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert b'headrace_jobs_queued{model="echo"} 3.0' in body


async def test_a_taken_port_is_an_error_and_the_first_server_goes_on():
    async with ProbeServer(0, {"/livez": healthy}) as first:
        with pytest.raises(OSError, match="address already in use"):
            async with ProbeServer(first.port, {}):
                pass
        assert (await get(first.port, "/livez"))[0] == 200


async def test_leaving_frees_the_port():
    async with ProbeServer(0, {"/livez": healthy}) as server:
        port = server.port
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(port, "/livez")
    async with ProbeServer(port, {"/livez": healthy}):
        assert (await get(port, "/livez"))[0] == 200


def test_every_probe_server_listens_where_it_is_told():
    # On loopback alone no kubelet and no Prometheus would reach it.
    root = Path(__file__).parents[2]
    found = 0
    for path in [*root.glob("worker/*.py"), *root.glob("webhooks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "ProbeServer":
                found += 1
                told = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert told.get("host") == "settings.probe_host", path.name
    assert found >= 2

"""What `headrace up` shows."""

from __future__ import annotations

import io
import json
import shlex
from dataclasses import replace
from typing import Any

import httpx
import pytest
from rich.console import Console

from headrace.up.child import State
from headrace.up.figures import Figures, ModelFigures
from headrace.up.screen import LiveScreen, PlainScreen, Row, View, curl_line

ROW = Row("api", State.RUNNING, 12, 0, "")
MODEL = ModelFigures("echo", "ready", "", 3, 1, 1, {"message": "hello"})


def test_plain_lines_tell_changes_only(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainScreen() as shown:
        shown.show(View((replace(ROW, state=State.WAITING, pid=None),), ()))
        for _ in range(2):
            shown.show(View((ROW,), (MODEL,)))
        shown.show(View((replace(ROW, state=State.RESTARTING, pid=None, ended="exit 1"),), ()))
        shown.show(View((), (replace(MODEL, state="failed", reason="no memory"),)))
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "api running (pid 12)",
        "model echo ready",
        "api restarting after exit 1",
        "model echo failed: no memory",
    ]


def test_the_live_screen_draws_processes_and_figures() -> None:
    out = io.StringIO()
    with LiveScreen(Console(file=out, force_terminal=True, width=100)) as shown:
        shown.show(View((ROW,), (MODEL,)))
        size = len(out.getvalue())
        shown.show(View((ROW,), (MODEL,)))
        assert len(out.getvalue()) == size
        shown.say("x" * 300 + " [not markup]")
    drawn = out.getvalue()
    assert "restarts" in drawn
    assert "echo" in drawn
    # Not wrapped: a pasted line must be the line.
    assert "x" * 300 + " [not markup]" in drawn


@pytest.mark.parametrize("example", [{"message": "it's"}, {"a": ["ä", 1]}, "$HOME `x`"])
def test_the_curl_line_survives_the_shell(example: Any) -> None:
    words = shlex.split(curl_line("http://127.0.0.1:1", "echo", example, needs_key=False))
    assert words[:2] == ["curl", "-sS"]
    assert "http://127.0.0.1:1/v1/models/echo/jobs" in words
    assert json.loads(words[words.index("-d") + 1]) == {"input": example}


def test_the_curl_line_names_the_key_where_one_is_needed() -> None:
    line = curl_line("http://127.0.0.1:1", "echo", 1, needs_key=True)
    assert line.endswith('-H "Authorization: Bearer $HEADRACE_API_KEY"')


async def test_figures_are_read_and_kept_while_the_api_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_a_b")
    card = {
        "name": "echo",
        "state": "ready",
        "reason": "",
        "example": 1,
        "queue": {"queued": 3, "running": 1},
        "workers": [{"state": "ready"}, {"state": "loading"}],
    }
    answers = [
        httpx.Response(401),
        httpx.Response(200, json={"data": [card]}),
        httpx.ConnectError("away"),
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer hr_a_b"
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    figures = Figures("http://test", transport=httpx.MockTransport(answer))
    await figures.ask()
    assert figures.needs_key
    await figures.ask()
    await figures.ask()
    assert figures.models == (ModelFigures("echo", "ready", "", 3, 1, 1, 1),)
    assert not figures.needs_key

"""What a person sees: one live screen on a terminal, plain lines anywhere else."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from headrace.up.child import State
from headrace.up.figures import ModelFigures

_COLOURS = {
    "running": "green",
    "ready": "green",
    "starting": "yellow",
    "loading": "yellow",
    "restarting": "red",
    "failed": "red",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One process."""

    name: str
    state: State
    pid: int | None
    restarts: int
    ended: str


@dataclass(frozen=True, slots=True)
class View:
    """All there is to see at one moment."""

    processes: tuple[Row, ...]
    models: tuple[ModelFigures, ...]


class Screen(Protocol):
    """Shows views as they change, and lines that stay."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def say(self, line: str) -> None:
        """Add a line that stays as it is."""

    def show(self, view: View) -> None:
        """Show how things stand."""


def screen() -> Screen:
    """Return the screen that fits standard output."""
    return LiveScreen(Console()) if sys.stdout.isatty() else PlainScreen()


class LiveScreen:
    """Two tables drawn over themselves; lines that stay scroll above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: View | None = None
        # Drawn by us and only when something changed, so that text can be selected meanwhile;
        # rich's own thread would also make every fork one of a threaded process.
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print above the tables; not wrapped by us, so that it can be copied whole."""
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)
        self._live.refresh()

    def show(self, view: View) -> None:
        """Draw again if anything changed."""
        if view != self._shown:
            self._shown = view
            self._live.update(Group(_processes(view.processes), _models(view.models)), refresh=True)


class PlainScreen:
    """A line for each change of a process' or a model's state."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def say(self, line: str) -> None:
        """Print a line."""
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    def show(self, view: View) -> None:
        """Print what changed."""
        for row in view.processes:
            if row.state is State.WAITING:
                continue
            pid = f" (pid {row.pid})" if row.pid else ""
            ended = f" after {row.ended}" if row.state is State.RESTARTING else ""
            self._tell(row.name, f"{row.state}{ended}{pid}")
        for model in view.models:
            reason = f": {model.reason}" if model.reason else ""
            self._tell(f"model {model.name}", f"{model.state}{reason}")

    def _tell(self, name: str, text: str) -> None:
        if self._shown.get(name) != text:
            self._shown[name] = text
            self.say(f"{name} {text}")


def curl_line(url: str, model: str, example: Any, *, needs_key: bool) -> str:
    """Return the shell command that runs a model on its own example and shows the result."""
    words = ["curl", "-sS", f"{url}/v1/models/{model}/jobs"]
    words += ["-H", "Content-Type: application/json", "-H", "Prefer: wait"]
    body = json.dumps({"input": example}, ensure_ascii=False)
    line = shlex.join([*words, "-d", body])
    return f'{line} -H "Authorization: Bearer $HEADRACE_API_KEY"' if needs_key else line


def _processes(rows: Sequence[Row]) -> Table:
    table = Table("process", "state", "pid", "restarts", "last end", box=None, pad_edge=False)
    for row in rows:
        pid = str(row.pid or "")
        table.add_row(row.name, _coloured(row.state), pid, str(row.restarts), row.ended)
    return table


def _models(models: Sequence[ModelFigures]) -> Table:
    table = Table("model", "state", "queued", "running", "workers", box=None, pad_edge=False)
    for model in models:
        state = _coloured(model.state) + (f" {model.reason}" if model.reason else "")
        figures = (str(figure) for figure in (model.queued, model.running, model.workers))
        table.add_row(model.name, state, *figures)
    return table


def _coloured(state: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{state}[/{colour}]" if colour else state

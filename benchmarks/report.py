"""Rows of figures: printed as one table, kept as Markdown and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; with a peer, also the ratio of the two taken side by side."""

    measure: str
    unit: str
    runs: Sequence[float]
    peer: str = ""
    peer_runs: Sequence[float] = field(default=())
    aim: str = ""

    @property
    def value(self) -> float:
        """Return the median of the runs."""
        return statistics.median(self.runs)

    @property
    def peer_value(self) -> float | None:
        """Return the median of the peer's runs."""
        return statistics.median(self.peer_runs) if self.peer_runs else None

    @property
    def ratio(self) -> float | None:
        """Return the median of the ratios of neighbouring runs, not a ratio of medians."""
        if not self.peer_runs:
            return None
        pairs = zip(self.runs, self.peer_runs, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def cells(self) -> list[str]:
        """Return the row as text for a table."""
        several = len(self.runs) > 1
        spread = f"{_short(min(self.runs))} to {_short(max(self.runs))}" if several else ""
        other = f"{self.peer}: {_short(self.peer_value)}" if self.peer_value is not None else ""
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else ""
        own = f"{_short(self.value)} {self.unit}".strip()
        return [self.measure, own, spread, other, ratio, self.aim]


HEADINGS = ["measure", "Headrace", "runs", "peer", "ratio", "aim"]


def _short(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(rows: list[Row]) -> str:
    """Render the table with the machine it was taken on."""
    lines = [
        f"Taken {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {os.cpu_count()} cores "
        f"({platform.machine()}, Python {platform.python_version()}). Both sides of a ratio ran "
        "interleaved in one run on this machine; a ratio is the median over neighbouring pairs.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "| --- | --: | --: | --: | --: | --- |",
    ]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plain(rows: list[Row]) -> str:
    """Render the table for a terminal."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )
    return "\n".join(line.rstrip() for line in padded)


def keep(rows: list[Row], folder: Path = FOLDER) -> None:
    """Write results.md and results.json."""
    (folder / "results.md").write_text(f"# Results\n\n{markdown(rows)}")
    figures = [{**asdict(row), "value": row.value, "ratio": row.ratio} for row in rows]
    (folder / "results.json").write_text(json.dumps(figures, indent=1) + "\n")

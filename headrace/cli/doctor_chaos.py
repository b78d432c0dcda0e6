"""`headrace doctor --chaos`: does the promise hold on this machine, with this installation?"""

from __future__ import annotations

import secrets
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from headrace.cli.extras import require
from headrace.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from headrace.chaos.verdict import Verdict

HELD, BROKEN = 0, 1
#: how many of each kind of finding are printed; --json has all
_SHOWN = 5


def run(jobs: int, kills: int, seed: int | None, as_json: bool) -> int:
    """Run a campaign on a Redis of its own, print the verdict; 1 when the promise did not hold."""
    require("server", "worker")
    from headrace.chaos.campaign import Campaign, Size

    size = Size(
        jobs=jobs, faults=kills, seed=secrets.randbelow(1_000_000) if seed is None else seed
    )
    # What it started ends with it, also when it is told to end.
    signal.signal(signal.SIGTERM, _leave)
    verdict = Campaign(size, say=lambda text: print(text, file=sys.stderr, flush=True)).run()
    if as_json:
        print_json(verdict.details())
    else:
        _print(verdict)
    return HELD if verdict.held else BROKEN


def _print(verdict: Verdict) -> None:
    print_table(("what", "how many"), verdict.counts().items())
    for kind, found in verdict.wrongs().items():
        for each in found[:_SHOWN]:
            print(f"{kind}: {each}")
    share = f"{verdict.hit_share:.0%} of the faults hit running work"
    if verdict.held:
        print(f"Nothing was lost, and each job had one outcome; {share}.")
    elif any(verdict.wrongs().values()):
        print(f"The promise did NOT hold; {share}. Replay it with --seed {verdict.seed}.")
    else:
        print(f"Nothing wrong was seen, but too little was tried: {share}.")


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)

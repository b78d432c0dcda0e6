"""How many jobs to claim now: enough that the GPU never waits, few enough that others may have
the rest.
"""

import math
from dataclasses import dataclass

#: seconds of work to hold ahead of the GPU
AHEAD_S = 1.0
#: a batch longer than this is long: nothing is held behind it until it is about to end
LONG_BATCH_S = 1.0
#: seconds before the expected end of a long batch at which the next one is claimed
PREPARE_S = 0.25
#: jobs; above it a window only costs memory and fairness
MOST_AHEAD = 1024
#: jobs in one claim
MOST_CLAIMED = 256
#: bytes of inputs and unsettled outputs a worker holds
MOST_BYTES = 64 << 20
#: finished jobs whose outcome Redis has not taken yet
MOST_UNSETTLED = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What decides about the next claim."""

    max_batch: int
    #: the model sorts jobs by cost: how many fit together is known only in the engine
    by_cost: bool
    unstarted: int
    started: int
    unsettled: int
    held_bytes: int
    #: how many the last claim found
    last_found: int
    #: a job that once saw an engine die runs with nothing else near it
    suspects: int
    #: jobs to run one by one, since the engine died on none that had been started
    careful: int
    seconds_per_job: float | None
    batch_s: float | None
    #: expected seconds until the batch on the GPU ends; None when there is none
    running_rest_s: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The next claim; `start` lets its jobs be running at once."""

    count: int
    start: bool = False
    #: when `count` is 0: seconds after which to look again even if nothing happens
    wake_s: float | None = None


def plan(view: View) -> Plan:
    """Decide the next claim."""
    if view.suspects or view.unsettled >= MOST_UNSETTLED or view.held_bytes >= MOST_BYTES:
        return Plan(0)
    idle = not view.unstarted and not view.started
    if view.careful:
        return Plan(1, start=True) if idle else Plan(0)
    if idle:
        return _when_idle(view)
    ahead, wake_s = _ahead(view)
    room = min(ahead - view.unstarted, MOST_CLAIMED)
    # Refill by quarters: claims of one job each would cost a round trip for every job.
    if room <= 0 or (room < ahead // 4 and view.unstarted > view.max_batch):
        return Plan(0, wake_s=wake_s)
    return Plan(room)


def _when_idle(view: View) -> Plan:
    if not view.by_cost:
        return Plan(min(view.max_batch, MOST_CLAIMED), start=True)
    # One job is always a batch, so it may start with its claim. While more than one at a time
    # come, the engine had better choose among many.
    if view.last_found <= 1:
        return Plan(1, start=True)
    return Plan(min(max(2 * view.max_batch, view.last_found), MOST_CLAIMED))


def _ahead(view: View) -> tuple[int, float | None]:
    """How many unstarted jobs to hold, and when that number changes by itself."""
    if view.batch_s is None or view.seconds_per_job is None:
        return 0, None
    if view.batch_s >= LONG_BATCH_S:
        rest_s = view.running_rest_s or 0.0
        if view.running_rest_s is not None and rest_s > PREPARE_S:
            return 0, rest_s - PREPARE_S
        return view.max_batch, None
    by_time = math.ceil(AHEAD_S / max(view.seconds_per_job, 1e-6))
    floor = 2 * view.max_batch if view.batch_s <= LONG_BATCH_S / 2 else view.max_batch
    return max(min(by_time, MOST_AHEAD), floor), None

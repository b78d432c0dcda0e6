"""When to kill an engine for one job's sake: after a cancel, or after a time limit.

The ladder: the job's `canceled` flag is set; the model has a grace to see it; a batch whose rest
is cheaper than loading the model again is let run; only then the engine dies.
"""

from collections import deque
from dataclasses import dataclass

#: seconds; no job is killed for its time limit before it
LEAST_LIMIT_S = 1.0
#: kills that one tenant may cause within a window
MOST_KILLS = 6
KILL_WINDOW_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a job that has to go stands; times in seconds."""

    flagged_for_s: float
    elapsed_s: float
    grace_s: float
    rest_s: float
    reload_s: float
    #: its tenant has used up its kills
    capped: bool
    #: the model's own limit, which holds for a capped tenant too
    model_limit_s: float


def limit_s(timeout_s: float, expected_s: float | None) -> float:
    """How long a job may run: never less than twice what its batch is known to take."""
    return max(timeout_s, LEAST_LIMIT_S, 2 * (expected_s or 0.0))


def must_kill(standing: Standing) -> bool:
    """Whether the engine dies now."""
    if standing.flagged_for_s < standing.grace_s:
        return False
    if standing.capped and standing.elapsed_s < standing.model_limit_s:
        return False
    return standing.rest_s >= standing.reload_s


class KillBudget:
    """Counts the kills each tenant caused, so that nobody can cancel a GPU to a halt."""

    def __init__(self) -> None:
        self._kills: dict[str, deque[float]] = {}

    def spend(self, tenant: str, now: float) -> None:
        """Note a kill for this tenant's job."""
        self._kills.setdefault(tenant, deque()).append(now)

    def spent(self, tenant: str, now: float) -> bool:
        """Whether this tenant has none left."""
        kills = self._kills.get(tenant)
        if kills is None:
            return False
        while kills and now - kills[0] > KILL_WINDOW_S:
            kills.popleft()
        if not kills:
            del self._kills[tenant]
            return False
        return len(kills) >= MOST_KILLS

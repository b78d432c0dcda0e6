"""What becomes of the jobs in a worker's hands when its engine dies."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.worker_queue import HandBack
from worker.holding import AT_WORK, LEAVING, Held, Phase


@dataclass(frozen=True, slots=True)
class Death:
    """How an engine ended."""

    reason: str
    #: the worker killed it itself, for a cancel, a time limit, or to stop: nobody is to blame
    ordered: bool
    exit_code: int | None
    #: it had been loaded
    served: bool


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The verdicts over all jobs that were at a dead engine."""

    #: canceled or over their limit, and now off the GPU
    ended: list[Held]
    back: list[tuple[Held, HandBack]]
    #: jobs were at the engine, but none had been started: whose fault it was is unknown
    unexplained: bool


def judge(held: Iterable[Held], death: Death) -> Aftermath:
    """Decide over each job that was at the engine."""
    at_engine = [each for each in held if each.phase not in LEAVING]
    blamed = set() if death.ordered else _blamed(at_engine)
    ended: list[Held] = []
    back: list[tuple[Held, HandBack]] = []
    for each in at_engine:
        if each.phase in AT_WORK and (each.canceled or each.timed_out):
            ended.append(each)
        else:
            back.append((each, _hand_back(each, charge=each.id in blamed)))
    fed = any(each.phase is not Phase.ASIDE for each in at_engine)
    return Aftermath(ended, back, unexplained=fed and not death.ordered and not blamed)


def _blamed(at_engine: list[Held]) -> set[str]:
    """Those on the GPU; with none there, those that had been started: one of them did it."""
    on_gpu = {each.id for each in at_engine if each.phase is Phase.ON_GPU}
    return on_gpu or {each.id for each in at_engine if each.phase is Phase.STARTED}


def _hand_back(held: Held, *, charge: bool) -> HandBack:
    return HandBack(id=held.id, token=held.job.token, charge=charge, alone=held.alone)

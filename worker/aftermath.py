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
    #: its last words, and where its threads were: for admins, not for the job's owner
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The verdicts over all jobs that were at a dead engine."""

    #: canceled or over their limit, and now off the GPU
    ended: list[Held]
    back: list[tuple[Held, HandBack]]
    #: jobs were at the engine, but none had been started: whose fault it was is unknown
    unexplained: bool


def judge(held: Iterable[Held], death: Death, *, began: int = 0) -> Aftermath:
    """Decide over each job that was at the engine; `began` jobs were the batch on the GPU."""
    at_engine = [each for each in held if each.phase not in LEAVING]
    at_work = _at_work(at_engine)
    # Of several that ran together beyond a limit, any may be the one that hangs: each of them runs
    # alone next, and has timed out if it is over its limit then.
    # Also the last of a batch that ran in pieces: its mates' time is in its own.
    crowd = death.reason == "timeout" and max(len(at_work), began) > 1
    blamed = at_work if crowd or not death.ordered else set()
    ended: list[Held] = []
    back: list[tuple[Held, HandBack]] = []
    for each in at_engine:
        if each.phase in AT_WORK and (each.canceled or (each.timed_out and not crowd)):
            ended.append(each)
        else:
            back.append((each, _hand_back(each, death, charge=each.id in blamed)))
    fed = any(each.phase is not Phase.ASIDE for each in at_engine)
    return Aftermath(ended, back, unexplained=fed and not death.ordered and not blamed)


def _at_work(at_engine: list[Held]) -> set[str]:
    """Those on the GPU; with none there, those that had been started: one of them did it."""
    on_gpu = {each.id for each in at_engine if each.phase is Phase.ON_GPU}
    return on_gpu or {each.id for each in at_engine if each.phase is Phase.STARTED}


def charged(held: Held, reason: str) -> HandBack:
    """The job is one of several that may have done harm: it runs alone next."""
    return HandBack(id=held.id, token=held.job.token, charge=True, reason=reason)


def _hand_back(held: Held, death: Death, *, charge: bool) -> HandBack:
    return HandBack(
        id=held.id,
        token=held.job.token,
        charge=charge,
        alone=held.alone,
        reason=death.reason,
        # Of what had not begun there is no attempt to tell of.
        detail=death.detail if held.phase in AT_WORK else "",
    )

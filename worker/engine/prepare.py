"""From a job's JSON to what `predict` takes: validate, prepare, cost."""

import math
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from jobs.errors import problem
from model_store.loader import LoadedModel
from telemetry import logs
from worker.engine.batch import HeldJob
from worker.engine.batcher import Batcher
from worker.engine.faults import DeviceLost, is_sticky, problem_of, text_of

log = logs.get(__name__)

#: how many wrong places a refusal names, and how many bytes of each wrong value it repeats
ERRORS_LIMIT = 100
INPUT_LIMIT = 4_096


class Preparer:
    """Runs in any thread; each job's failure stays its own."""

    #: seconds; a lighter piece of work is done at once where it came up, a hop costs more
    INLINE_S = 0.0005
    INLINE_BYTES = 65_536
    #: seconds of one piece of work in a thread
    PART_S = 0.01

    def __init__(self, model: LoadedModel, batcher: Batcher) -> None:
        self._validate = model.Input.__pydantic_validator__.validate_json
        self._prepare = model.members.prepare
        self._cost = model.members.cost
        self._fits = batcher.fits
        #: seconds a job has taken so far, on the pessimistic side until known
        self._per_job = 0.0001

    def is_light(self, jobs: Sequence[HeldJob]) -> bool:
        """Whether preparing these takes less than handing them to another thread is worth."""
        if self._prepare is not None or self._per_job * len(jobs) > self.INLINE_S:
            return False
        return sum(len(each.job.input) for each in jobs) <= self.INLINE_BYTES

    def parts(self, jobs: Sequence[HeldJob], threads: int) -> Iterator[Sequence[HeldJob]]:
        """Pieces for the threads, small enough that the first jobs are ready soon."""
        size = min(-(-len(jobs) // threads), int(self.PART_S / self._per_job))
        size = max(size, 1)
        for start in range(0, len(jobs), size):
            yield jobs[start : start + size]

    def prepare(self, jobs: Sequence[HeldJob]) -> None:
        """Fill in what each job is prepared to, or why it is refused."""
        began = monotonic()
        for held in jobs:
            if not held.dropped:
                held.refusal = self._prepare_one(held)
        spent = (monotonic() - began) / len(jobs)
        self._per_job += 0.2 * (spent - self._per_job)

    def _prepare_one(self, held: HeldJob) -> dict[str, Any] | None:
        try:
            value = self._validate(held.job.input, strict=True)
        except ValidationError as error:
            return invalid_input(error, held.id)
        except BaseException as error:  # noqa: BLE001 - an author's validator may raise anything
            return self._blame(error, "a validator of Input", held.id)
        doing = "prepare"
        try:
            if self._prepare is not None:
                value = self._prepare(value)
            held.prepared = value
            if self._cost is None:
                return None
            doing = "cost"
            held.cost = float(self._cost(value))
        # The author's code hurts this job alone; a Rust panic in a tokenizer is no Exception.
        except BaseException as error:  # noqa: BLE001
            return self._blame(error, doing, held.id)
        return self._check_cost(held)

    def _check_cost(self, held: HeldJob) -> dict[str, Any] | None:
        if not math.isfinite(held.cost) or held.cost < 0:
            detail = f"cost returned {held.cost}; it has to be a number, 0 or more"
            return problem("model_error", detail, job_id=held.id)
        if self._fits(held.cost):
            return None
        detail = f"the input's cost of {held.cost:g} is above the model's max_cost"
        return problem("input_too_large", detail, job_id=held.id)

    def _blame(self, error: BaseException, doing: str, job_id: str) -> dict[str, Any]:
        if is_sticky(error):
            raise DeviceLost(text_of(error)) from error
        log.warning("job_not_prepared", job_id=job_id, doing=doing, exc_info=error)
        return problem_of(error, doing, job_id)


def invalid_input(error: ValidationError, job_id: str) -> dict[str, Any]:
    """The problem of an input that Pydantic refused, each place counted from the body."""
    found = listed(error, ("body", "input"))
    return problem(
        "invalid_input", f"the input is not valid: {found[0]['msg']}", job_id=job_id, errors=found
    )


def listed(error: ValidationError, root: tuple[str, ...]) -> list[dict[str, Any]]:
    """Pydantic's errors as FastAPI lists them, bounded: they are stored with the job."""
    every = error.errors(include_url=False, include_context=False)
    return [
        {
            "type": each["type"],
            "loc": [*root, *each["loc"]],
            "msg": each["msg"],
            "input": _shown(each["input"]),
        }
        for each in every[:ERRORS_LIMIT]
    ]


def _shown(value: Any) -> Any:
    try:
        text = to_json(value, inf_nan_mode="strings", fallback=repr)
        if len(text) > INPUT_LIMIT:
            return f"{text[:INPUT_LIMIT].decode(errors='ignore')}… ({len(text)} bytes)"
        return _sendable(from_json(text))
    except Exception:  # noqa: BLE001 - the value's own code, or nesting without end
        return f"a {type(value).__name__} that cannot be shown"


def _sendable(value: Any) -> Any:
    """Whole numbers over 64 bits as text: the wire has none."""
    if isinstance(value, dict):
        return {name: _sendable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_sendable(each) for each in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value

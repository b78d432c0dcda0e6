"""From what `predict` returned to the job's JSON: finish, validate, encode."""

import math
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from jobs.errors import problem
from model_store.loader import LoadedModel
from telemetry import logs
from worker.engine.batch import HeldJob
from worker.engine.faults import (
    OWN_CODES,
    DeviceLost,
    describe,
    is_sticky,
    problem_of,
    text_of,
)
from worker.engine.prepare import listed
from worker.wire import Item

log = logs.get(__name__)

#: JSON has no such numbers: an encoder writes them as one of these
NON_FINITE = (b"null", b"NaN", b"Infinity")


class InvalidOutput(Exception):
    """A result that is not a valid Output, with the places that are wrong."""

    def __init__(self, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors


class Finisher:
    """Runs in any thread; each job's failure stays its own."""

    #: seconds; lighter work is done at once by whoever ran the batch, a hop costs more
    INLINE_S = 0.0003
    #: seconds of one piece of work in a thread
    PART_S = 0.005

    def __init__(self, model: LoadedModel, max_result_bytes: int) -> None:
        self._finish = model.members.finish
        self._output = model.Output
        self._encode = model.Output.__pydantic_serializer__.to_json
        self._max_bytes = max_result_bytes
        self._per_job = 0.0001

    def is_light(self, count: int) -> bool:
        """Whether finishing this many takes less than handing them to another thread is worth."""
        return self._finish is None and self._per_job * count <= self.INLINE_S

    def part_size(self, count: int, threads: int) -> int:
        """How many to finish in one piece: all, or a thread's share where that is long."""
        return count if self._per_job * count <= self.PART_S else -(-count // threads)

    def finish(self, jobs: Sequence[HeldJob], results: Sequence[Any], run_s: float) -> list[Item]:
        """The outcome of each job."""
        began = monotonic()
        items = [
            self._item(held, result, run_s) for held, result in zip(jobs, results, strict=True)
        ]
        spent = (monotonic() - began) / len(items)
        self._per_job += 0.2 * (spent - self._per_job)
        return items

    def _item(self, held: HeldJob, result: Any, run_s: float) -> Item:
        output, error = None, None
        if isinstance(result, BaseException):
            error = failure(result, "predict", held.id)
        else:
            output, error = self._outcome(result, held.id)
        return Item(held.feed, output, error, run_s)

    def _outcome(self, raw: Any, job_id: str) -> tuple[bytes | None, dict[str, Any] | None]:
        try:
            value = raw if self._finish is None else self._finish(raw)
        except BaseException as error:  # noqa: BLE001 - the author's code; it hurts this job alone
            return None, failure(error, "finish", job_id)
        try:
            text = self._json(value)
        except InvalidOutput as error:
            return None, problem("invalid_output", str(error), job_id=job_id, errors=error.errors)
        except BaseException as error:  # noqa: BLE001 - a validator or serializer of Output
            return None, failure(error, "Output", job_id)
        if len(text) > self._max_bytes:
            detail = f"the output has {len(text)} bytes, the limit is {self._max_bytes}"
            return None, problem("result_too_large", detail, job_id=job_id)
        return text, None

    def _json(self, value: Any) -> bytes:
        try:
            if not isinstance(value, self._output):
                value = self._output.model_validate(value)
            # A value put into an Output without a check would only be warned of.
            text = self._encode(value, by_alias=True, warnings="error")
        except ValidationError as error:
            found = listed(error, ("output",))
            place = _dotted(found[0]["loc"])
            raise InvalidOutput(f"{place}: {found[0]['msg']}", found) from error
        except PydanticSerializationError as error:
            raise InvalidOutput(describe(error, "writing the output as JSON")) from error
        if any(each in text for each in NON_FINITE):
            _refuse_non_finite(value)
        return text


def failure(error: BaseException, doing: str, job_id: str) -> dict[str, Any]:
    """The problem of a job whose model raised, with its traceback in the log."""
    if is_sticky(error):
        raise DeviceLost(text_of(error)) from error
    if type(error) not in OWN_CODES:
        log.warning("job_failed_in_model", job_id=job_id, doing=doing, exc_info=error)
    return problem_of(error, doing, job_id)


def _refuse_non_finite(value: BaseModel) -> None:
    found = [
        {
            "type": "finite_number",
            "loc": ["output", *path],
            "msg": "Output should be a finite number",
            "input": str(number),
        }
        for path, number in _non_finite(value.model_dump(by_alias=True), ())
    ]
    if found:
        first = found[0]
        raise InvalidOutput(f"{_dotted(first['loc'])} is {first['input']}", found[:100])


def _non_finite(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], float]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _non_finite(each, (*path, key))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, each in enumerate(value):
            yield from _non_finite(each, (*path, index))


def _dotted(path: Sequence[Any]) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)[1:]

"""The example input through the whole path, so that the first real job finds a warm engine."""

from collections.abc import Sequence
from itertools import count, cycle, islice
from typing import Any

from model_store.errors import ModelFolderError
from model_store.loader import LoadedModel
from telemetry import logs
from worker.engine.batch import Batch, HeldJob
from worker.engine.batcher import Batcher
from worker.engine.context import LoadContext, Reporter
from worker.engine.finish import Finisher
from worker.engine.memory import SafeSizes
from worker.engine.prepare import Preparer
from worker.engine.runner import Runner
from worker.engine.timing import BatchTime
from worker.wire import EngineJob, SafeSize, ToFeeder

log = logs.get(__name__)

#: seconds; a longer batch is not run a second time only to learn its time
LONG_S = 2.0


class Learned:
    """Stands in for the feeder, who must hear of no warm-up job, only of what was learned."""

    def __init__(self) -> None:
        self.frames: list[ToFeeder] = []

    def send(self, *frames: ToFeeder) -> None:
        """Keep what the feeder should know."""
        self.frames += [each for each in frames if isinstance(each, SafeSize)]


class Check:
    """Finishes the results of a warm-up and keeps what was wrong with them."""

    def __init__(self, finisher: Finisher) -> None:
        self._finisher = finisher
        self.wrong: list[dict[str, Any]] = []

    def __call__(
        self, batch: Batch, jobs: Sequence[HeldJob], results: Sequence[Any], run_s: float
    ) -> None:
        """Take results as the desk would."""
        items = self._finisher.finish(jobs, results, run_s)
        self.wrong.extend(each.error for each in items if each.error is not None)


class WarmUp:
    """Runs batches of example jobs: of one, then of as many as may go together."""

    def __init__(
        self, model: LoadedModel, context: LoadContext, sizes: SafeSizes, batcher: Batcher
    ) -> None:
        self._model = model
        self._batcher = batcher
        self._learned = Learned()
        reporter = Reporter(self._learned)
        self._runner = Runner(model, context, self._learned, reporter, sizes)
        self._numbers = count(1)

    def run(self, preparer: Preparer, finisher: Finisher, time: BatchTime) -> list[ToFeeder]:
        """Warm up and learn what a batch takes; returns frames that the feeder should have."""
        self._runner.probe(0)
        try:
            for size in self._sizes_to_run(preparer):
                self._run_size(size, preparer, finisher, time)
        except ModelFolderError as error:
            if not self._derived:
                raise
            # Valid against the schema, a derived example may still mean nothing to the model.
            log.warning("warm_up_failed", detail=error.detail, fix="give the class an example")
        return self._learned.frames

    @property
    def _derived(self) -> bool:
        stated = (getattr(self._model.instance, name, None) for name in ("example", "warmup"))
        return all(each is None for each in stated)

    def _sizes_to_run(self, preparer: Preparer) -> list[int]:
        if not self._model.warmup:
            return []
        longest = max(each.cost for each in self._prepared(len(self._model.warmup), preparer))
        return sorted({1, self._batcher.most_for(longest)})

    def _run_size(self, size: int, preparer: Preparer, finisher: Finisher, time: BatchTime) -> None:
        # The first run compiles and allocates; the second is what a batch takes from now on.
        for again in (False, True):
            batch = Batch(0, self._prepared(size, preparer), 0.0)
            check = Check(finisher)
            seconds = self._runner.run(batch, check)
            if check.wrong:
                raise ModelFolderError(f"the warm-up failed: {check.wrong[0]['detail']}")
            if seconds is None or seconds > LONG_S:
                return
            if again:
                time.learn(batch.padded, seconds)

    def _prepared(self, size: int, preparer: Preparer) -> list[HeldJob]:
        texts = islice(cycle(self._model.warmup), size)
        jobs = [
            HeldJob(EngineJob(f"warmup_{number}", number, text), 0.0, 0.0)
            for number, text in zip(self._numbers, texts, strict=False)
        ]
        preparer.prepare(jobs)
        for each in jobs:
            if each.refusal is not None:
                raise ModelFolderError(f"the warm-up failed: {each.refusal['detail']}")
            each.shape = self._batcher.shape_of(each.cost)
        return jobs

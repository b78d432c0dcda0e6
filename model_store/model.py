"""What a class Model has to look like, and its defaults; authors import nothing of this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class LoadContext(Protocol):
    """What `load` is given."""

    @property
    def device(self) -> str:
        """Such as "cuda:0", "mps" or "cpu"."""

    @property
    def dtype(self) -> Any:
        """The torch dtype that suits the device, None where torch is not installed."""

    @property
    def weights(self) -> Path:
        """Where the weights lie."""

    @property
    def settings(self) -> dict[str, Any]:
        """What was set for this model from outside."""


class JobContext(Protocol):
    """One job of the running batch, as `predict` sees it."""

    @property
    def id(self) -> str:
        """The job's id, as its client knows it."""

    @property
    def canceled(self) -> bool:
        """True once the job was canceled; its result will not be kept."""

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Tell the client how far the job is."""

    def log(self, text: str) -> None:
        """Add a line to the job's log."""


class BatchContext(LoadContext, Protocol):
    """What `predict` is given beside the batch; `jobs[i]` belongs to `batch[i]`."""

    @property
    def jobs(self) -> Sequence[JobContext]:
        """The jobs of the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The methods of an author's Model, bound; None stands for the identity (for cost: 1)."""

    load: Callable[[LoadContext], Any]
    predict: Callable[[list[Any], BatchContext], Any]
    prepare: Callable[[Any], Any] | None = None
    finish: Callable[[Any], Any] | None = None
    cost: Callable[[Any], float] | None = None
    #: predict is a generator: it yields {index: partial} and returns the list.
    streams: bool = False

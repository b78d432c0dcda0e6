"""What a class Model has to look like, and its defaults; authors import nothing of this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class LoadContext(Protocol):
    """What `load` is given."""

    #: "cuda:0", "mps" or "cpu".
    device: str
    #: The torch dtype that suits the device, None where torch is not installed.
    dtype: Any
    weights: Path
    settings: dict[str, Any]


class JobContext(Protocol):
    """One job of the running batch, as `predict` sees it."""

    id: str

    @property
    def canceled(self) -> bool:
        """True once the job was canceled; its result will not be kept."""
        ...

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Tell the client how far the job is."""

    def log(self, text: str) -> None:
        """Add a line to the job's log."""


class BatchContext(LoadContext, Protocol):
    """What `predict` is given beside the batch; `jobs[i]` belongs to `batch[i]`."""

    jobs: Sequence[JobContext]


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

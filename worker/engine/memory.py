"""The batch size that fits the device's memory, learned per bucket of cost."""

import math
from collections.abc import Mapping


class SafeSizes:
    """Largest batches that fit, by the upper bound of their bucket of cost.

    A bucket is the model's own where it declares `buckets`, else the next power of two above
    the cost; its name is that bound as text.
    """

    def __init__(self, known: Mapping[str, int], max_batch: int) -> None:
        self._max_batch = max_batch
        self._sizes: list[tuple[float, int]] = sorted(
            (float(bucket), size) for bucket, size in known.items() if size >= 1
        )

    def limit(self, shape: float) -> int:
        """How many jobs of this shape may go together."""
        # What did not fit for a smaller cost does not fit for a larger one either.
        fits = [size for bound, size in self._sizes if bound <= bound_of(shape)]
        return min([self._max_batch, *fits])

    def learn(self, shape: float, size: int) -> tuple[str, int]:
        """A batch of more than `size` did not fit; the bucket's name and its size from now."""
        bound = bound_of(shape)
        size = max(1, min(size, self.limit(shape)))
        self._sizes = sorted([*(each for each in self._sizes if each[0] != bound), (bound, size)])
        return name_of(bound), size


def bound_of(shape: float) -> float:
    """The upper bound of the bucket that learned sizes are kept under."""
    return float(2 ** math.ceil(math.log2(shape)))


def name_of(bound: float) -> str:
    """The bound as a key that people can read."""
    return f"{bound:g}"

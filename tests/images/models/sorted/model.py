"""Sorts numbers, with a package of its own."""

from pydantic import BaseModel
from sortedcontainers import SortedList


class Input(BaseModel):
    """Some numbers."""

    numbers: list[int]


class Output(BaseModel):
    """The same, in their order."""

    numbers: list[int]


class Model:
    """Needs what no worker has."""

    example = Input(numbers=[2, 1])

    def load(self, ctx):
        """There are no weights."""

    def predict(self, batch, ctx):
        """Sort each."""
        return [Output(numbers=list(SortedList(each.numbers))) for each in batch]

"""Give back what was sent."""

from typing import Any

from pydantic import BaseModel


class Input(BaseModel):
    """Any JSON value."""

    message: Any


class Output(BaseModel):
    """The value that was sent."""

    message: Any


class Model:
    """Gives back its input; for a first try, and to measure everything around a model."""

    max_batch = 64
    example = Input(message="hello")

    def load(self, ctx):
        """There are no weights."""

    def predict(self, batch, ctx):
        """The same values, in the same order."""
        return [Output(message=each.message) for each in batch]

"""Takes a tenth of a second for a batch, however many are in it: a GPU without one."""

import time

from pydantic import BaseModel


class Input(BaseModel):
    """Anything."""

    message: str = ""


class Output(BaseModel):
    """The same."""

    message: str


class Model:
    """Eight at a time."""

    max_batch = 8
    example = Input(message="hello")

    def load(self, ctx):
        """There are no weights."""

    def predict(self, batch, ctx):
        """Sleep, and give back what came."""
        time.sleep(0.1)
        return [Output(message=each.message) for each in batch]

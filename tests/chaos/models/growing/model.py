"""Answers at once, or fails when told to."""

from pydantic import BaseModel


class Input(BaseModel):
    """Something to give back."""

    text: str = ""
    fail: bool = False


class Output(BaseModel):
    """What was given."""

    text: str


class Model:
    """Large batches of small jobs."""

    max_batch = 64
    example = Input(text="hello")

    def load(self, ctx):
        """Nothing to load."""

    def predict(self, batch, ctx):
        """The same texts, and errors where they are asked for."""
        for job in ctx.jobs[:1]:
            job.progress(0.5, "half of it")
        return [ValueError(each.text) if each.fail else Output(text=each.text) for each in batch]

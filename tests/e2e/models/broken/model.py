"""A model whose weights cannot be read."""

from pydantic import BaseModel


class Input(BaseModel):
    """Anything."""

    text: str = "a"


class Output(BaseModel):
    """Nothing ever comes."""

    text: str


class Model:
    """Fails to load."""

    def load(self, ctx):
        """As if a file were missing."""
        raise FileNotFoundError("weights.safetensors is not there")

    def predict(self, batch, ctx):
        """Never called."""
        return [Output(text=item.text) for item in batch]

"""What can be wrong with a model folder or a card."""

from typing import ClassVar


class ModelFolderError(Exception):
    """A model folder cannot be served; the text is one sentence that says what to change."""

    code: ClassVar[str] = "model_load_failed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CardError(ValueError):
    """The text of a card cannot be read."""

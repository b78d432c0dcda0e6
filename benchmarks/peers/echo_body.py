"""The request and the answer that every peer route shares."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class EchoInput(BaseModel):
    """The input of examples/echo."""

    model_config = ConfigDict(extra="forbid")

    message: Any


class Submit(BaseModel):
    """The same envelope that Headrace checks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: EchoInput
    priority: Literal["high", "normal", "low"] = "normal"


class Accepted(BaseModel):
    """A short answer: cheaper for the peer than the whole job that Headrace returns."""

    id: str
    status: str
    output: EchoInput | None = None

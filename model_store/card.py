"""A model's card: all that the rest of Headrace knows of a model, without its code."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from model_store.errors import CardError
from model_store.limits import Limits

if TYPE_CHECKING:
    from model_store.loader import LoadedModel

#: Written into every card. A reader takes the format before it, and ignores keys it does not know,
#: so that processes of two releases can share one Redis.
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Name, version, schemas, limits, example and shards of one version of a model."""

    name: str
    version: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    limits: Limits = field(default_factory=Limits)
    description: str = ""
    example: Any = None
    shards: tuple[int, ...] = ()
    requirements: tuple[str, ...] = ()
    published_at: str = ""

    def to_json(self) -> bytes:
        """The card as it is kept in Redis."""
        values = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "input_schema": self.input_schema,
            "output_schema": self.output_schema,
            "limits": self.limits.as_dict(),
            "example": self.example,
            "shards": list(self.shards),
            "requirements": list(self.requirements),
            "published_at": self.published_at,
        }
        return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes | str) -> "Card":
        """The card out of its stored text."""
        try:
            values = json.loads(text)
            return cls(
                name=values["name"],
                version=values["version"],
                description=values.get("description", ""),
                input_schema=values["input_schema"],
                output_schema=values["output_schema"],
                limits=Limits.from_dict(values.get("limits", {})),
                example=values.get("example"),
                shards=tuple(values.get("shards", ())),
                requirements=tuple(values.get("requirements", ())),
                published_at=values.get("published_at", ""),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CardError(f"this is not a model's card: {error!r}") from error


def card_of(loaded: "LoadedModel", shards: tuple[int, ...] | list[int] = ()) -> Card:
    """The card of a loaded model, living on these shards."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Card(
        name=loaded.manifest.name,
        version=loaded.manifest.version,
        description=loaded.description,
        input_schema=loaded.input_schema,
        output_schema=loaded.output_schema,
        limits=loaded.limits,
        example=loaded.example,
        shards=tuple(shards),
        requirements=loaded.manifest.requirements,
        published_at=now,
    )

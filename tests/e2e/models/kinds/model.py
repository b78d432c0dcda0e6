"""One field of each kind, to be filled in wrongly."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AnyUrl, BaseModel, ConfigDict, EmailStr, Field, field_validator


class Colour(Enum):
    """A closed set."""

    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """A nested object that takes nothing else."""

    model_config = ConfigDict(extra="forbid")

    x: float
    y: float = 0.0


class Cat(BaseModel):
    """One side of a union told apart by its kind."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """The other side."""

    kind: Literal["dog"]
    tricks: list[str]


class Input(BaseModel):
    """Every field has a default but the first, so that a test fills in only one."""

    text: str = Field(min_length=1, max_length=10)
    code: str = Field(default="ABC", pattern="^[A-Z]{3}$")
    count: int = Field(default=1, ge=1, le=10)
    step: int = Field(default=5, multiple_of=5)
    ratio: float = Field(default=0.5, gt=0.0, lt=1.0)
    flag: bool = True
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    day: date = date(2026, 1, 1)
    moment: datetime = datetime(2026, 1, 1)
    clock: time = time(12, 0)
    span: timedelta = timedelta(seconds=1)
    key: UUID = UUID("12345678-1234-5678-1234-567812345678")
    mail: EmailStr = "a@example.com"
    link: AnyUrl = AnyUrl("https://example.com/")
    address: IPv4Address = IPv4Address("10.0.0.1")
    price: Decimal = Decimal("1.50")
    point: Point = Point(x=1.0)
    points: list[Point] = Field(default=[], max_length=3)
    names: list[Annotated[str, Field(min_length=2)]] = Field(default=["ab"], min_length=1)
    pair: tuple[int, str] = (1, "a")
    table: dict[str, int] = {}
    maybe: int | None = None
    either: int | str = 1
    unique: set[int] = set()
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat(kind="cat", lives=9)
    even: int = 2

    @field_validator("even")
    @classmethod
    def check_even(cls, value: int) -> int:
        """A rule that no JSON Schema can say."""
        if value % 2:
            raise ValueError("even must be even")
        return value


class Output(BaseModel):
    """The text that came in."""

    text: str


class Model:
    """Answers with the text."""

    example: ClassVar = {"text": "hello"}

    def load(self, ctx):
        """Nothing to load."""

    def predict(self, batch, ctx):
        """One output per input."""
        return [Output(text=item.text) for item in batch]

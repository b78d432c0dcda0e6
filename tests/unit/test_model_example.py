"""The example derived from a schema is one that the type itself accepts."""

import datetime as dt
import decimal
import enum
import ipaddress
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    EmailStr,
    Field,
    HttpUrl,
    Json,
    PositiveInt,
    RootModel,
    Secret,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    conlist,
)
from typing_extensions import TypedDict

from model_store.example import example_of
from model_store.json_schema import InputJsonSchema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: float
    y: float = Field(examples=[2.5])


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []
    parent: "Tree | None" = None


class Pair(NamedTuple):
    first: int
    second: str


class Movie(TypedDict):
    name: str
    year: int


class Strict(BaseModel, extra="forbid", strict=True):
    name: str = Field(min_length=3, max_length=3)


class Named(BaseModel):
    model_config = {"json_schema_extra": {"examples": [{"name": "given"}]}}
    name: str


class Chosen(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


class Aliased(BaseModel):
    file_name: str = Field(alias="fileName")


TYPES: list[Any] = [
    *(str, int, float, bool, None, Any, bytes, list, dict, dict[str, Any], list[Any]),
    *(list[int], set[int], frozenset[str], tuple[int, str], tuple[int, ...], dict[str, int]),
    *(Colour, Literal[3, "b"], int | None, str | int),
    *(dt.date, dt.datetime, AwareDatetime, dt.time, dt.timedelta, uuid.UUID),
    *(decimal.Decimal, ipaddress.IPv4Address, ipaddress.IPv6Network, ipaddress.IPv4Interface),
    *(
        AnyUrl,
        HttpUrl,
        EmailStr,
        Base64Bytes,
        SecretStr,
        Secret[int],
        Path,
        Json[Any],
        Json[list[int]],
    ),
    *(Point, Chosen, Tree, Pair, Movie, Strict, Named, Aliased, RootModel[list[Point]]),
    *(Cat | Dog, list[Cat | Dog], dict[Literal["a", "b"], Point], dict[uuid.UUID, int]),
    Annotated[str, Field(min_length=100)],
    Annotated[str, Field(min_length=45, max_length=45)],
    Annotated[str, Field(max_length=1)],
    Annotated[str, Field(max_length=0)],
    Annotated[str, StringConstraints(strip_whitespace=True, min_length=46)],
    Annotated[str, Field(pattern=r"^[A-Z]{3}-\d{4}$")],
    Annotated[str, Field(pattern=r"^(?:red|blue)$", min_length=4)],
    PositiveInt,
    Annotated[int, Field(ge=10, lt=11)],
    Annotated[int, Field(le=-5)],
    Annotated[int, Field(gt=2, multiple_of=7)],
    Annotated[float, Field(gt=0, lt=1)],
    Annotated[float, Field(ge=0.25, le=0.25)],
    Annotated[float, Field(gt=0, lt=1e-9)],
    Annotated[float, Field(le=-0.5)],
    Annotated[float, Field(multiple_of=0.5, gt=1)],
    Annotated[decimal.Decimal, Field(max_digits=4, decimal_places=2, gt=1)],
    Annotated[set[int], Field(min_length=5)],
    Annotated[set[Literal["a", "b", "c"]], Field(min_length=3)],
    Annotated[set[bool], Field(min_length=2)],
    Annotated[frozenset[str], Field(min_length=3)],
    Annotated[set[Annotated[str, Field(min_length=30)]], Field(min_length=3)],
    Annotated[list[int], Field(max_length=0)],
    conlist(Point, min_length=2, max_length=3),
    Annotated[dict[str, int], Field(min_length=3)],
    dict[Annotated[str, Field(pattern="^k_[a-z]+$")], int],
    Annotated[list[list[float]], Field(min_length=2)],
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_the_type_accepts_its_example(kind: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    example = example_of(adapter.json_schema(schema_generator=InputJsonSchema))
    adapter.validate_json(TypeAdapter(Any).dump_json(example), strict=True)
    assert (example is None) is (kind is None)


def test_what_the_author_named_comes_first() -> None:
    assert example_of(TypeAdapter(Named).json_schema()) == {"name": "given"}
    assert example_of(TypeAdapter(Point).json_schema()) == {"x": 1, "y": 2.5}


def test_a_default_is_shown() -> None:
    class Settings(BaseModel):
        steps: int = 20
        note: str | None = None

    assert example_of(Settings.model_json_schema()) == {"steps": 20, "note": "text"}


IMPOSSIBLE: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 3, "maximum": 2},
    {"type": "string", "pattern": "^a$", "minLength": 3},
    {"type": "string", "pattern": r"\p{Lu}"},
    {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "boolean"}},
    {"type": "object", "required": ["a"], "properties": {"a": False}},
    {"type": "object", "minProperties": 2, "additionalProperties": False},
    {"$ref": "#/$defs/Missing"},
    {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
    {
        "$ref": "#/$defs/A",
        "$defs": {
            "A": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/A"}}}
        },
    },
    {"anyOf": [False]},
]


@pytest.mark.parametrize("schema", IMPOSSIBLE, ids=str)
def test_what_has_no_example_gives_none(schema: dict[str, Any]) -> None:
    assert example_of(schema) is None


def test_all_of_is_taken_together() -> None:
    schema = {
        "allOf": [
            {"$ref": "#/$defs/A"},
            {"type": "object", "required": ["b"], "properties": {"b": {"type": "boolean"}}},
        ],
        "$defs": {"A": {"type": "object", "required": ["a"], "properties": {"a": {"const": 1}}}},
    }
    assert example_of(schema) == {"a": 1, "b": True}


def test_types_may_be_a_list() -> None:
    assert example_of({"type": ["null", "integer"], "minimum": 4}) == 4


@given(
    low=st.integers(-30, 30),
    high=st.integers(-30, 30),
    step=st.sampled_from([0.25, 1, 1.5, 2, 7]),
    bounds=st.sampled_from(
        [("minimum", "maximum"), ("exclusiveMinimum", "maximum"), ("minimum", "exclusiveMaximum")]
    ),
    kind=st.sampled_from(["integer", "number"]),
)
def test_a_number_is_found_where_there_is_one(
    low: int, high: int, step: float, bounds: tuple[str, str], kind: str
) -> None:
    schema = {"type": kind, bounds[0]: low, bounds[1]: high, "multipleOf": step}
    possible = [
        each
        for each in (quarter * 0.25 for quarter in range(-4 * 30, 4 * 30 + 1))
        if (each > low or (each == low and bounds[0] == "minimum"))
        and (each < high or (each == high and bounds[1] == "maximum"))
        and each % step == 0
        and (kind == "number" or each % 1 == 0)
    ]
    found = example_of(schema)
    assert found in possible if possible else found is None

"""The API refuses what an author's Input would, with the same types at the same places."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import json
import pathlib
import random
import re
import uuid
from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Optional, Required, Union

import pydantic
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel, ValidationError
from typing_extensions import TypedDict

from api import input_schema
from jobs.errors import InvalidInput
from model_store.json_schema import InputJsonSchema

Wrong = list[tuple[str, list[Any]]]


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    n: int


class Dog(BaseModel):
    kind: Literal["dog", "wolf"]
    n: str = Field(max_length=3)


class Black(BaseModel):
    kind: Literal["cat"] = "cat"
    color: Literal["black"]


class White(BaseModel):
    kind: Literal["cat"] = "cat"
    color: Literal["white"]
    x: int


class Node(BaseModel):
    v: int
    kids: list[Node] = []


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int
    b: str = Field("x", alias="b-b")
    c: date | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]
    a: int = 1


class Named(BaseModel):
    model_config = ConfigDict(populate_by_name=True, str_strip_whitespace=True)
    x: int = Field(alias="ex")
    y: Annotated[str, Field(min_length=2)] = Field("yy", validation_alias=AliasChoices("y1", "y2"))


class Checked(BaseModel):
    a: int

    @pydantic.model_validator(mode="after")
    def sure(self) -> Checked:
        return self


class Encoded(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64")
    a: bytes


class Titled(BaseModel):
    model_config = ConfigDict(title="A title of its own")
    a: int


class Numbers(RootModel[list[int]]):
    pass


class Typed(TypedDict, total=False):
    a: Required[int]
    b: date


@dataclasses.dataclass
class Data:
    a: int
    b: date | None = None


class Pair(NamedTuple):
    a: int
    b: str = "x"


Cats = Annotated[Black | White, Field(discriminator="color")]
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
AnyPet = Annotated[Cats | Dog, Field(discriminator="kind")]
Short = Annotated[str, Field(min_length=1, max_length=3, pattern="^a")]
Few = Annotated[list[int], Field(min_length=1, max_length=2)]
Price = Annotated[Decimal, Field(max_digits=5, decimal_places=2, ge=0)]

TYPES: list[Any] = [
    *(str, Short, Annotated[str, Field(pattern=re.compile("^(?!x)a"))]),
    *(int, Annotated[int, Field(ge=0, lt=9, multiple_of=3)], Annotated[int, Field(gt=0, le=9)]),
    *(float, Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(multiple_of=0.5)]),
    *(bool, None, int | None, date | None, Any, pydantic.JsonValue),
    *(int | str, int | date | list[date], Cat | Dog | None, list[int] | Node, float | str),
    *(Short | list[Color] | Literal["abc", 1], dict[str, date] | set[uuid.UUID], Color | int),
    *(Titled | Cat, Numbers | int, Checked | list[Checked], AnyPet | None),
    *(Literal["a"], Literal["a", 1, None], Literal[True, "x"], Color, Level, list[Color]),
    *(list[int], list[list[int]], Few, Sequence[int], deque[int]),
    *(set[int], set[uuid.UUID], frozenset[str], Annotated[set[int], Field(max_length=2)]),
    *(tuple[int, str], tuple[int, ...], tuple[()], set[tuple[int, str]]),
    *(dict[str, int], dict[int, str], dict[Color, int], dict[Literal["a", "b"], int]),
    *(dict[uuid.UUID, int], dict[Short, int], dict[str, Any], dict[Level, int]),
    *(Pet, AnyPet, Node, Node | None, Numbers, Typed, Data, Pair, Closed, Open, Named),
    *(Checked, Encoded, datetime, date, time, timedelta, pydantic.AwareDatetime),
    *(pydantic.PastDate, Annotated[date, Field(ge=date(2020, 1, 1))], uuid.UUID, pydantic.UUID4),
    *(Decimal, Price, Decimal | None, complex, bytes, Annotated[bytes, Field(max_length=3)]),
    *(
        pydantic.Base64Bytes,
        pydantic.Base64Str,
        pydantic.Base64UrlStr,
        pydantic.EmailStr,
        pydantic.NameEmail,
    ),
    *(pydantic.AnyUrl, pydantic.HttpUrl, pydantic.FileUrl, pydantic.PostgresDsn),
    *(ipaddress.IPv4Address, ipaddress.IPv6Network, ipaddress.IPv4Interface),
    *(pydantic.IPvAnyAddress, pathlib.Path, pydantic.SecretStr, pydantic.SecretBytes),
    *(pydantic.Json[list[int]], pydantic.Json[Node], re.Pattern, pydantic.ByteSize),
]

VALUES: list[Any] = [
    *(None, True, 0, 1, -1, 3, 12, 1.0, 1.5, 0.25, 10**25),
    *("", "a", "abc", "abcd", "r", "x", "1", "xaa", "é", "12.34", "1234.567", "10kB"),
    *("a@b.co", "Bob <a@b.co>", "a@b", "http://a.b/c", "ftp://x/y", "postgres://u:p@h/d"),
    *("1.2.3.4", "1.2.3.0/24", "300.1.1.1", "::1", "::/64", "YWJj", "YW!", "(", "{"),
    *("2020-01-01", "2020-13-01", "2020-01-01T00:00:00", "2020-01-01T00:00:00Z", "9999-01-01"),
    *("10:00", "25:00", "P1D", "PX", "9f1a4f3e-5f0e-4f0e-8f0e-9f1a4f3e5f0e"),
    *("9f1a4f3e-5f0e-1f0e-8f0e-9f1a4f3e5f0e", "[1,2]", '[1,"a"]', '{"v":"x"}'),
    *([], [1], [1, "a"], [1, 1], [1, 2, 3], ["a"], ["r", "z"], [[1], ["x"]], [None]),
    *(["2020-01-01", "nope"], ["9f1a4f3e-5f0e-4f0e-8f0e-9f1a4f3e5f0e", "no"], [{"a": "x"}]),
    *({}, {"a": 1}, {"a": "x"}, {"a": 1, "zz": 2}, {"a": 1, "zz": "q"}, {"a": None, "b": 5}),
    *({"a": 1, "b-b": 3, "c": "no"}, {"a": "YW!"}, {"v": 1, "kids": [{"v": "x"}, {"kids": 3}]}),
    *({"kind": "cat", "n": "x"}, {"kind": "dog", "n": 1}, {"kind": "wolf", "n": "long"}),
    *({"kind": "cow"}, {"kind": 3}, {"n": 1}, {"kind": "cat", "color": "white", "x": "s"}),
    *({"kind": "cat", "color": "red"}, {"r": 1, "q": 2}, {"1": "a", "k": "a"}, {"1": 1}),
    *({"k": "2020-13-01"}, {"ex": "q", "y2": "s "}, {"x": 1}, {"x": "s", "y1": "ss"}),
]


def by_author(model: type[BaseModel], body: bytes) -> Wrong:
    try:
        model.model_validate_json(body, strict=True)
    except ValidationError as error:
        lines = error.errors(include_url=False, include_input=False, include_context=False)
        return [(line["type"], list(line["loc"])) for line in lines]
    return []


def by_api(validator: input_schema.SubmitValidator, body: bytes) -> Wrong:
    try:
        parsed = validator.submit(b'{"input": %b}' % body)
    except InvalidInput as error:
        errors = json.loads(json.dumps(error.members["errors"]))
        assert all(line["loc"][:2] == ["body", "input"] for line in errors)
        return [(line["type"], line["loc"][2:]) for line in errors]
    assert parsed.input == body
    return []


def model_of(annotation: Any) -> tuple[type[BaseModel], input_schema.SubmitValidator]:
    model = pydantic.create_model("Input", value=(annotation, ...))
    # As a card travels: through JSON.
    schema = json.loads(json.dumps(model.model_json_schema(schema_generator=InputJsonSchema)))
    return model, input_schema.compile(schema)


def differences(annotation: Any, values: list[Any]) -> list[Any]:
    model, validator = model_of(annotation)
    bodies = [json.dumps({"value": value}).encode() for value in values]
    found = [(body, by_author(model, body), by_api(validator, body)) for body in bodies]
    return [one for one in found if one[1] != one[2]]


@pytest.mark.parametrize("annotation", TYPES, ids=[str(one)[:60] for one in TYPES])
def test_same_errors_as_the_author(annotation: Any) -> None:
    assert differences(annotation, VALUES) == []


#: Whose schema, without notes, is narrower than the type.
NARROWER = [Named, Pair, complex, dict[Level, int]]


@pytest.mark.parametrize("annotation", [one for one in TYPES if one not in NARROWER], ids=str)
def test_a_card_without_notes_refuses_nothing_good(annotation: Any) -> None:
    model = pydantic.create_model("Input", value=(annotation, ...))
    validator = input_schema.compile(model.model_json_schema())
    for value in VALUES:
        body = json.dumps({"value": value}).encode()
        assert by_author(model, body) or not by_api(validator, body), body


def test_the_tables_are_broad() -> None:
    bodies = [json.dumps({"value": value}).encode() for value in VALUES]
    kinds: set[str] = set()
    refusing = 0
    for annotation in TYPES:
        model = pydantic.create_model("Input", value=(annotation, ...))
        wrong = {kind for body in bodies for kind, _ in by_author(model, body)}
        refusing += bool(wrong)
        kinds |= wrong
    assert refusing >= 90
    assert len(kinds) >= 60


LEAVES = [one for one in TYPES if one not in (deque[int], tuple[()])]
KEYS = [str, int, float, uuid.UUID, Color, Level, date, Short]


def composed(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(LEAVES)
    inner = [composed(rng, depth - 1) for _ in range(rng.randint(1, 3))]
    extra = rng.choice(["ignore", "allow", "forbid"])
    names = rng.sample(["a", "kids", "x", "n"], len(inner))
    fields = {name: (one, rng.choice([..., None])) for name, one in zip(names, inner, strict=True)}
    return rng.choice(
        [
            list[inner[0]],
            dict[rng.choice(KEYS), inner[0]],
            Optional[inner[0]],  # noqa: UP045
            Union[tuple(dict.fromkeys([*inner, int, date]))],  # noqa: UP007
            tuple[tuple(inner)],
            tuple[inner[0], ...],
            pydantic.create_model(
                f"M{rng.randrange(99)}", __config__=ConfigDict(extra=extra), **fields
            ),
        ]
    )


def document(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.4:
        return rng.choice(VALUES)
    if rng.random() < 0.5:
        return [document(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    names = rng.sample(["a", "kids", "x", "n", "kind", "1", "zz", "2020-01-01"], rng.randint(0, 4))
    return {name: document(rng, depth - 1) for name in names}


@pytest.mark.parametrize("seed", range(40))
def test_same_errors_for_composed_types(seed: int) -> None:
    rng = random.Random(seed)
    annotation = composed(rng, 3)
    assert differences(annotation, [document(rng, 3) for _ in range(30)]) == []

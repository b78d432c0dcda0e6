"""A folder of the right shape is loaded with the contract's defaults; a wrong one is explained."""

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import pytest

from model_store.errors import ModelFolderError
from model_store.limits import Limits
from model_store.loader import LoadedModel, load_folder

TYPES = """
from pydantic import BaseModel

class Input(BaseModel):
    text: str

class Output(BaseModel):
    length: int
"""
METHODS = """
def load(self, ctx):
    self.ready = True

def predict(self, batch, ctx):
    return [Output(length=len(each.text)) for each in batch]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "counter", **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.py").write_text(text)
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_text(content)
        return folder

    return write


def model(body: str = "", methods: str = METHODS, types: str = TYPES, doc: str = "") -> str:
    """The text of a model.py whose class Model has this body."""
    inside = indent(dedent(body) + methods, "    ")
    return f"{types}\nclass Model:\n    {doc}\n{inside}\n"


def refusal(folder: Path) -> str:
    with pytest.raises(ModelFolderError) as caught:
        load_folder(folder)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_defaults_are_the_contracts(write: Write) -> None:
    loaded = load_folder(write(model()))
    assert loaded.limits == Limits(
        max_batch=1, max_wait_ms=0, max_cost=None, buckets=None, timeout_s=300, retry_backoff_s=5
    )
    members = loaded.members
    assert (members.prepare, members.finish, members.cost, members.streams) == (*[None] * 3, False)
    assert loaded.example == {"text": "text"}
    assert loaded.warmup == (b'{"text": "text"}',)
    assert loaded.warnings == ()


def test_the_model_predicts_without_load_being_called_for_it(write: Write) -> None:
    loaded = load_folder(write(model()))
    assert not hasattr(loaded.instance, "ready")
    assert loaded.members.predict([loaded.Input(text="four")], None)[0].length == 4  # type: ignore[arg-type]


def test_what_the_author_sets_is_taken(write: Write) -> None:
    body = """
    max_batch = 8
    max_wait_ms = 2.5
    max_cost = 512
    buckets = [16, 32]
    timeout_s = 20
    retry_backoff_s = 0
    example = {"text": "abc"}
    warmup = [Input(text="a"), {"text": "b"}]

    def prepare(self, input): return input.text
    def finish(self, raw): return raw
    def cost(self, prepared): return len(prepared)
    """
    loaded = load_folder(write(model(body, doc='"""Counts letters."""')))
    assert loaded.limits == Limits(
        max_batch=8,
        max_wait_ms=2.5,
        max_cost=512,
        buckets=(16, 32),
        timeout_s=20,
        retry_backoff_s=0,
    )
    assert loaded.members.cost is not None
    assert loaded.members.cost("abc") == 3
    assert loaded.example == {"text": "abc"}
    assert loaded.warmup == (b'{"text": "a"}', b'{"text": "b"}')
    assert loaded.description == "Counts letters."


def test_limits_may_be_set_in_load(write: Write) -> None:
    methods = METHODS.replace("self.ready = True", "self.max_batch = 4")
    loaded = load_folder(write(model(methods=methods)))
    loaded.members.load(None)  # type: ignore[arg-type]
    assert (loaded.limits.max_batch, loaded.limits_now().max_batch) == (1, 4)


def test_a_generator_streams(write: Write) -> None:
    body = "def predict(self, batch, ctx):\n    yield {0: 'part'}\n    return []\n"
    load = "def load(self, ctx): pass\n"
    assert load_folder(write(model(body, load))).members.streams


def test_an_empty_warmup_is_none_at_all(write: Write) -> None:
    assert load_folder(write(model("warmup = []"))).warmup == ()


def test_schemas_are_of_what_goes_in_and_what_comes_out(write: Write) -> None:
    types = """
from pydantic import BaseModel, computed_field

class Input(BaseModel):
    text: str = "x"

class Output(BaseModel):
    length: int = 0
    @computed_field
    @property
    def double(self) -> int:
        return 2 * self.length
"""
    loaded = load_folder(write(model(types=types)))
    assert "required" not in loaded.input_schema
    assert loaded.output_schema["required"] == ["double"]


def test_no_example_is_a_warning_and_no_warmup(write: Write) -> None:
    types = """
from pydantic import BaseModel, field_validator

class Input(BaseModel):
    text: str
    @field_validator("text")
    @classmethod
    def odd(cls, value):
        if value != "open sesame":
            raise ValueError("no")
        return value

class Output(BaseModel):
    length: int
"""
    loaded = load_folder(write(model(types=types)))
    assert (loaded.example, loaded.warmup) == (None, ())
    assert "example = {...}" in loaded.warnings[0]


WRONG_TYPES = {
    "no_input": (
        "class Output: pass\nclass Model: pass",
        "has no Input; add class Input(BaseModel)",
    ),
    "no_output": (TYPES.replace("class Output", "class Answer"), "has no Output"),
    "no_model": (TYPES, "has no class Model; add one with load(self, ctx) and predict"),
    "model_function": (TYPES + "def Model(): pass", "has no class Model"),
    "plain_input": (
        model(types=TYPES.replace("class Input(BaseModel)", "class Input")),
        "Input is not a Pydantic model",
    ),
    "plain_output": (
        model(types=TYPES.replace("class Output(BaseModel)", "class Output")),
        "Output is not a Pydantic model",
    ),
    "no_schema": (
        model(
            types=TYPES.replace("text: str", "text: str\n    call: __import__('typing').Callable")
        ),
        "Input has what JSON cannot carry: Cannot generate a JsonSchema for",
    ),
    "infinite": (
        model(types=TYPES.replace("text: str", "text: float = float('inf')")),
        "Input has what JSON cannot carry: Out of range float values",
    ),
    "syntax": (
        TYPES + "def broken(:\n    pass\n",
        "model.py line 9: invalid syntax, in: def broken(:",
    ),
    "indent": ("class Input:\nx = 1\n", "model.py line 2: expected an indented block"),
    "raises": (TYPES + "1 / 0\n", "model.py line 9: raised ZeroDivisionError: division by zero"),
    "exits": (TYPES + "raise SystemExit(3)\n", "model.py line 9: raised SystemExit: 3"),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_wrong_module(write: Write, name: str) -> None:
    text, said = WRONG_TYPES[name]
    assert said in refusal(write(text))


WRONG_MEMBERS = {
    "def __init__(self, path): pass": "Model(path) needs arguments, but it is made with none",
    "def __init__(self): raise OSError('gone')": "model.py line 12: Model() raised OSError: gone",
    "max_batch = 2.0": "max_batch is 2.0; it has to be a whole number, 1 or more.",
    "max_batch = True": "max_batch is True",
    "max_batch = 0": "max_batch is 0",
    "max_batch = '8'": "max_batch is '8'",
    "max_batch = None": "max_batch is None",
    "max_wait_ms = -1": "max_wait_ms is -1; it has to be a number of milliseconds, 0 or more.",
    "max_wait_ms = 'x'": "max_wait_ms is 'x'",
    "max_cost = 0": "max_cost is 0; it has to be None or a number above 0.",
    "max_cost = float('nan')": "max_cost is nan",
    "buckets = [32, 16]": "buckets is [32, 16]; it has to be a list of rising numbers above 0.",
    "buckets = [16, 16]": "buckets is [16, 16]",
    "buckets = []": "buckets is []",
    "buckets = 16": "buckets is 16",
    "buckets = ['16']": "buckets is ['16']",
    "timeout_s = 0": "timeout_s is 0; it has to be a number of seconds above 0.",
    "timeout_s = float('inf')": "timeout_s is inf",
    "retry_backoff_s = -1": "retry_backoff_s is -1; it has to be a number of seconds, 0 or more.",
    "max_batches = 4": "has max_batches, which Headrace does not know; did you mean max_batch?",
    "timeout = 4": "did you mean timeout_s?",
    "warm_up = []": "did you mean warmup?",
    "prepare = 3": "prepare is 3; it has to be a method: def prepare(self, input).",
    "cost = 1": "it has to be a method: def cost(self, prepared).",
    "def prepare(self): pass": "prepare() cannot be called with input; write def prepare(",
    "def finish(self, raw, ctx): pass": "finish(raw, ctx) cannot be called with raw",
    "async def prepare(self, input): pass": "prepare is async, but it is called in a thread",
    "example = {'text': 1}": "example is not valid against Input at text: Input should be",
    "example = {}": "example is not valid against Input at text: Field required",
    "example = {'text': object()}": "example cannot be written as JSON",
    "example = {'text': float('nan')}": "example cannot be written as JSON",
    "warmup = {'text': 'a'}": "warmup has to be a list of inputs",
    "warmup = [{'text': 'a'}, {'text': 2}]": "warmup[1] is not valid against Input at text",
}


@pytest.mark.parametrize("body", WRONG_MEMBERS)
def test_wrong_member(write: Write, body: str) -> None:
    detail = refusal(write(model(body)))
    assert WRONG_MEMBERS[body] in detail
    assert detail.startswith("counter/model.py")


WRONG_METHODS = {
    "def load(self, ctx): pass": "class Model has no predict; add def predict(self, batch, ctx).",
    "def predict(self, batch, ctx): pass": "class Model has no load; add def load(self, ctx).",
    "def load(self, ctx): pass\ndef predicts(self): pass": "did you mean to name predicts so?",
    "def load(self): pass\ndef predict(self, batch, ctx): pass": "load() cannot be called with ctx",
    "def load(self, ctx): pass\ndef predict(self, batch): pass": (
        "predict(batch) cannot be called with batch, ctx; write def predict(self, batch, ctx)."
    ),
    "def load(self, ctx): pass\nasync def predict(self, batch, ctx): pass": "predict is async",
    "def load(self, ctx): pass\nasync def predict(self, batch, ctx): yield 1": "predict is async",
    "async def load(self, ctx): pass\ndef predict(self, batch, ctx): pass": "load is async",
}


@pytest.mark.parametrize("methods", WRONG_METHODS)
def test_wrong_method(write: Write, methods: str) -> None:
    assert WRONG_METHODS[methods] in refusal(write(model(methods=methods)))


@pytest.mark.parametrize("methods", ["def load(self, *_): pass\npredict = print", METHODS])
def test_a_method_may_be_written_in_any_way_that_can_be_called(write: Write, methods: str) -> None:
    assert isinstance(load_folder(write(model(methods=methods))), LoadedModel)


def test_attributes_of_the_authors_own_are_let_be(write: Write) -> None:
    body = "LABELS = ['a']\nthreshold = 0.5\n_max_batchs = 1\ndef warm(self): pass"
    assert load_folder(write(model(body))).limits == Limits()


def test_golden_examples_are_checked(write: Write) -> None:
    good = '[[golden]]\ninput = {text = "ab"}\noutput = {length = 2}\n'
    loaded = load_folder(write(model(), model__toml=good))
    assert loaded.manifest.golden[0].output == {"length": 2}
    bad = write(model(), "other", model__toml=good.replace("length = 2", 'length = "two"'))
    assert "golden[0].output is not valid against Output at length" in refusal(bad)


def test_loading_again_takes_the_new_text(write: Write) -> None:
    folder = write(model("max_batch = 2"))
    load_folder(folder)
    (folder / "model.py").write_text(model("max_batch = 16"))
    assert load_folder(folder).limits.max_batch == 16


def test_a_failed_import_leaves_nothing_behind(write: Write) -> None:
    refusal(write("from . import part\n1 / 0\n", part__py="x = 1"))
    assert not [each for each in sys.modules if each.startswith("headrace_models.counter")]

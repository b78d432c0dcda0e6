"""Which device is chosen, and what is asked of it; torch stands in for itself here."""

import os
import sys
import types

import pytest

from worker.engine import devices


class FakeTorch(types.SimpleNamespace):
    """As much of torch as the engine asks for, and a record of what it was asked."""

    def __init__(self, cuda=False, mps=False, bf16=True):
        self.asked = []

        def note(name, answer=None):
            def call(*args):
                self.asked.append((name, *args))
                return answer

            return call

        super().__init__(
            __version__="9.9",
            float16="float16",
            bfloat16="bfloat16",
            float32="float32",
            set_num_threads=note("threads"),
            nn=types.SimpleNamespace(Module=type("Module", (), {})),
            backends=types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: mps)),
            cuda=types.SimpleNamespace(
                is_available=lambda: cuda,
                is_bf16_supported=lambda: bf16,
                synchronize=note("synchronize"),
                empty_cache=note("empty"),
                memory_allocated=note("allocated", 5),
                memory_reserved=note("reserved", 9),
            ),
            mps=types.SimpleNamespace(
                synchronize=note("synchronize"),
                empty_cache=note("empty"),
                current_allocated_memory=lambda: 3,
                driver_allocated_memory=lambda: 4,
            ),
        )


@pytest.fixture
def torch(monkeypatch):
    def install(**options):
        fake = FakeTorch(**options)
        monkeypatch.setitem(sys.modules, "torch", fake)
        return fake

    return install


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [({"cuda": True, "mps": True}, "cuda:0"), ({"mps": True}, "mps"), ({}, "cpu")],
)
def test_cuda_before_mps_before_cpu(torch, options, chosen):
    torch(**options)
    assert devices.choose_device("auto") == chosen


@pytest.mark.parametrize(
    ("wanted", "chosen"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("mps", "mps")]
)
def test_a_named_device_is_taken(torch, wanted, chosen):
    torch(cuda=True, mps=True)
    assert devices.choose_device(wanted) == chosen


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1", "mps"])
def test_a_named_device_that_is_not_there_is_refused(torch, wanted):
    torch()
    with pytest.raises(devices.DeviceNotThere, match="HEADRACE_DEVICE=cpu"):
        devices.choose_device(wanted)


def test_without_torch_it_is_the_cpu_unless_another_is_named(no_torch):
    assert devices.choose_device("auto") == "cpu"
    assert devices.choose_device("cuda") == "cuda:0"
    assert devices.dtype_of("cpu") is None
    assert devices.memory_of("cpu") == (0, 0)
    for act in (devices.synchronize, devices.run_probe, devices.free_cache):
        act("cpu")
    devices.apply_threads(2)


def test_torch_is_imported_for_the_choice_only_where_a_gpu_is_likely(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    imported = []

    def fake_import(name):
        imported.append(name)
        return FakeTorch(cuda=True)

    monkeypatch.setattr(devices.importlib, "import_module", fake_import)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices, "DRIVER_NODES", (str(tmp_path / "none"),))
    assert devices.choose_device("auto") == "cpu"
    assert imported == []
    monkeypatch.setattr(devices, "DRIVER_NODES", (str(tmp_path),))
    assert devices.choose_device("auto") == "cuda:0"
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    assert devices.choose_device("auto") == "cpu"


@pytest.mark.parametrize(
    ("device", "options", "dtype"),
    [
        ("cuda:0", {}, "bfloat16"),
        ("cuda:0", {"bf16": False}, "float16"),
        ("mps", {}, "float16"),
        ("cpu", {}, "float32"),
    ],
)
def test_the_dtype_suits_the_device(torch, device, options, dtype):
    torch(**options)
    assert devices.dtype_of(device) == dtype


@pytest.mark.parametrize(
    ("device", "asked", "memory"),
    [
        ("cuda:0", [("synchronize", "cuda:0"), ("empty",)], (5, 9)),
        ("mps", [("synchronize",), ("empty",)], (3, 4)),
        ("cpu", [], (0, 0)),
    ],
)
def test_each_device_is_waited_for_and_freed_in_its_way(torch, device, asked, memory):
    fake = torch()
    devices.synchronize(device)
    devices.free_cache(device)
    assert fake.asked == asked
    assert devices.memory_of(device) == memory


def test_a_probe_that_computes_wrongly_is_a_fault(torch):
    class Ones:
        def __matmul__(self, other):
            return self

        def sum(self):
            return 7.0

    torch().ones = lambda *args, device: Ones()
    with pytest.raises(RuntimeError, match="CUDA error"):
        devices.run_probe("cuda:0")


def test_the_weights_are_counted_on_the_device_in_the_modules_or_on_disk(torch, tmp_path):
    (tmp_path / "deep").mkdir()
    for name, size in (("weights.bin", 100), ("deep/more.bin", 20), ("model.py", 3)):
        (tmp_path / name).write_bytes(b"x" * size)
    fake = torch()
    model = types.SimpleNamespace(name="x")
    assert devices.weights_bytes(model, "cpu", tmp_path) == 120
    assert devices.weights_bytes(model, "cpu", tmp_path / "weights.bin") == 100
    tensor = types.SimpleNamespace(numel=lambda: 10, element_size=lambda: 4)
    model.network = fake.nn.Module()
    model.network.parameters = lambda: [tensor, tensor]
    model.network.buffers = list
    assert devices.weights_bytes(model, "cpu", tmp_path) == 40
    assert devices.weights_bytes(model, "cuda:0", tmp_path) == 5


def test_threads_are_set_for_the_libraries_and_for_torch(torch, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    fake = torch()
    devices.limit_threads(0)
    devices.apply_threads(0)
    assert (os.environ["OMP_NUM_THREADS"], fake.asked) == ("7", [])
    devices.limit_threads(2)
    devices.apply_threads(2)
    assert (os.environ["OMP_NUM_THREADS"], fake.asked) == ("2", [("threads", 2)])


def test_a_cache_that_cannot_be_freed_is_left(torch):
    fake = torch()

    def broken():
        raise RuntimeError("CUDA error: out of memory")

    fake.cuda.empty_cache = broken
    devices.free_cache("cuda:0")

"""The device: which one, its dtype, its threads, its memory. Torch only where it is needed."""

import contextlib
import gc
import importlib.util
import os
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

#: one of these is there when the machine has a GPU that torch could use
DRIVER_NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
PROBE_SIDE = 64
#: beside the weights in a model folder
SOURCE_SUFFIXES = (".py", ".pyc", ".toml", ".txt", ".md")


def loaded_torch() -> Any | None:
    """Torch, where the model or the choice of a device has imported it."""
    return sys.modules.get("torch")


def limit_threads(threads: int) -> None:
    """Before the model's code is imported: its libraries read their thread count once."""
    if threads > 0:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)
    # Tokenizers would otherwise start a pool of threads under each of ours.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def apply_threads(threads: int) -> None:
    """After the model's code is imported: torch may have been configured by it."""
    torch = loaded_torch()
    if torch is not None and threads > 0:
        torch.set_num_threads(threads)


class DeviceNotThere(Exception):
    """The device that was asked for cannot be used here."""


def choose_device(wanted: str) -> str:
    """`cuda:0`, `mps` or `cpu`; a device asked for by name must be there."""
    if wanted not in ("", "auto"):
        return _named_device(wanted)
    torch = loaded_torch()
    if torch is None and _gpu_likely():
        torch = _import_torch()
    if torch is None:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if _has_mps(torch) else "cpu"


def _named_device(wanted: str) -> str:
    kind = wanted.partition(":")[0]
    name = "cuda:0" if wanted == "cuda" else wanted
    # Without torch the name is the model's to use: another library may know the device.
    torch = loaded_torch() or (None if kind == "cpu" else _import_torch())
    if torch is None:
        return name
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceNotThere(
            f"the device {wanted} was asked for, but torch {torch.__version__} finds no GPU; "
            "install a CUDA build of torch and check nvidia-smi, or set HEADRACE_DEVICE=cpu."
        )
    if kind == "mps" and not _has_mps(torch):
        raise DeviceNotThere(
            "the device mps was asked for, but torch finds none; set HEADRACE_DEVICE=cpu."
        )
    return name


def dtype_of(device: str) -> Any:
    """The torch dtype that suits the device; None where torch is not installed."""
    torch = loaded_torch() or _import_torch()
    if torch is None:
        return None
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device == "mps" else torch.float32


def synchronize(device: str) -> None:
    """Wait for the device, so that a fault shows in the batch that caused it."""
    torch = loaded_torch()
    if torch is None:
        return
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def run_probe(device: str) -> None:
    """A small matrix product on the device, checked."""
    torch = loaded_torch()
    if torch is None:
        return
    ones = torch.ones(PROBE_SIDE, PROBE_SIDE, device=device)
    if float((ones @ ones).sum()) != float(PROBE_SIDE**3):
        raise RuntimeError(f"CUDA error: {device} multiplied two matrices wrongly")


def free_cache(device: str) -> None:
    """Give back what a failed batch left behind."""
    gc.collect()
    torch = loaded_torch()
    if torch is None:
        return
    # A driver that is out of memory may fail here too; the next batch will tell.
    with contextlib.suppress(RuntimeError):
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        elif device == "mps":
            torch.mps.empty_cache()


def memory_of(device: str) -> tuple[int, int]:
    """Bytes allocated and reserved on the device; zeros where there is none to ask."""
    torch = loaded_torch()
    if torch is None:
        return 0, 0
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    if device == "mps":
        return torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory()
    return 0, 0


def weights_bytes(instance: Any, device: str, weights: Path) -> int:
    """Bytes of the model's weights: on the device, in its modules, or on disk."""
    allocated, _ = memory_of(device)
    return allocated or _module_bytes(instance) or _disk_bytes(weights)


def _module_bytes(instance: Any) -> int:
    torch = loaded_torch()
    if torch is None:
        return 0
    modules = (each for each in vars(instance).values() if isinstance(each, torch.nn.Module))
    tensors = {
        id(tensor): tensor.numel() * tensor.element_size()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensors.values())


def _disk_bytes(weights: Path) -> int:
    files = weights.rglob("*") if weights.is_dir() else [weights]
    return sum(
        each.stat().st_size
        for each in files
        if each.is_file() and each.suffix not in SOURCE_SUFFIXES
    )


def _gpu_likely() -> bool:
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return any(Path(each).exists() for each in DRIVER_NODES)


def _has_mps(torch: Any) -> bool:
    return bool(torch.backends.mps.is_available())


def _import_torch() -> ModuleType | None:
    if importlib.util.find_spec("torch") is None:
        return None
    return importlib.import_module("torch")

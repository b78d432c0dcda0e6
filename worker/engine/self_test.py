"""A test of the device, before weights are loaded onto one that has failed more than once."""

from typing import Any

from worker.engine import devices
from worker.engine.faults import describe

#: rows and columns; the largest sum is just below 2^24, so float32 holds every result exactly, and
#: so do the shorter formats that a GPU may multiply in
SIDE = 256
ROUNDS = 8


class DeviceFailed(Exception):
    """The device did not pass; the text says why."""


def self_test(device: str) -> None:
    """Multiply matrices whose product is known; DeviceFailed unless each number is right."""
    torch = devices.loaded_torch()
    if torch is None:
        # The model computes without it, on a processor that has just run all of this.
        return
    try:
        wrong = sum(_wrong_numbers(torch, device) for _ in range(ROUNDS))
    except Exception as error:
        raise DeviceFailed(describe(error, f"multiplying matrices on {device}")) from error
    if wrong:
        raise DeviceFailed(f"{device} multiplied matrices and got {wrong} numbers wrong")


def _wrong_numbers(torch: Any, device: str) -> int:
    # Named, since the model may have set another default: what is known is not the device's word.
    numbers = torch.arange(SIDE, dtype=torch.float32, device="cpu")
    # Every row is its number, every column too: a product names its place.
    left = numbers.reshape(SIDE, 1).expand(SIDE, SIDE).contiguous().to(device)
    right = numbers.expand(SIDE, SIDE).contiguous().to(device)
    product = (left @ right).cpu()
    devices.synchronize(device)
    known = SIDE * numbers.reshape(SIDE, 1) * numbers
    return int((product != known).sum())

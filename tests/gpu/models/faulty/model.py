"""Does to the GPU what its input says."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel

#: of all the memory there is: three such items do not fit, two do
THIRD = 0.35
ILLEGAL = """
extern "C" __global__ void write_anywhere(long long address) {
    *reinterpret_cast<volatile int*>(address) = 1;
}
"""


class Input(BaseModel):
    """What to do."""

    n: float = 1.0
    do: Literal["good", "third", "never_fits", "assert", "illegal", "spin"] = "good"


class Output(BaseModel):
    """Twice the number, computed on the GPU."""

    value: float


class Model:
    """One small product, after what the batch asks for."""

    max_batch = 8
    example: ClassVar = {"n": 1.0}

    def load(self, ctx: Any) -> None:
        """Some weights."""
        self.device = ctx.device
        self.two = torch.full((), 2.0, device=ctx.device)
        self.memory = torch.cuda.mem_get_info(ctx.device)[1]

    def predict(self, batch: Sequence[Input], ctx: Any) -> list[Any]:
        """Act on the GPU."""
        thirds = sum(each.do == "third" for each in batch)
        if thirds:
            self.take(int(THIRD * thirds * self.memory))
        for kind in {each.do for each in batch} - {"good", "third"}:
            getattr(self, kind)()
        numbers = torch.tensor([each.n for each in batch], device=self.device)
        return [{"value": each} for each in (self.two * numbers).tolist()]

    def take(self, size: int) -> None:
        """Use so much memory for a moment."""
        torch.empty(size, dtype=torch.uint8, device=self.device).fill_(1)

    def never_fits(self) -> None:
        """More than there is."""
        self.take(4 * self.memory)

    def assert_(self) -> None:
        """A kernel's own check fails."""
        torch.zeros(2, device=self.device)[torch.tensor([7], device=self.device)]

    def illegal(self) -> None:
        """A kernel writes where nothing is."""
        kernel = torch.cuda._compile_kernel(ILLEGAL, "write_anywhere")
        kernel(grid=(1, 1, 1), block=(1, 1, 1), args=[0x7F0000000008])

    def spin(self) -> None:
        """A kernel that runs for days."""
        torch.cuda._sleep(10**15)
        torch.cuda.synchronize()


setattr(Model, "assert", Model.assert_)

"""What an exception out of a model's code or its device means for the job, and for the engine."""

from collections.abc import Iterator
from typing import Any

from jobs.errors import problem

#: The device says these of memory: the context is still good, a smaller batch may fit.
MEMORY_TEXTS = (
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUDA out of memory",
    "HIP error: out of memory",
    "HIP out of memory",
    "MPS backend out of memory",
    "_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
#: cudaErrorMemoryAllocation: how torch says it of a call that its own allocator did not make
MEMORY_CODE = 2
#: A library refused the call before it ran: the model's mistake, or a batch too large for it.
REFUSAL_TEXTS = (
    "CUBLAS_STATUS_INVALID_VALUE",
    "CUBLAS_STATUS_NOT_SUPPORTED",
    "CUDNN_STATUS_BAD_PARAM",
    "CUDNN_STATUS_NOT_SUPPORTED",
)
#: After one of these every later call on the device fails too: only a new process helps. What is
#: not known is taken for such a fault: a reload costs less than a device that fails every job.
STICKY_TEXTS = (
    "CUDA error",
    "CUDA driver error",
    "HIP error",
    "device-side assert",
    "CUBLAS_STATUS_",
    "cuDNN error",
    "CUDNN_STATUS_",
    "NCCL error",
)
#: How far to follow "during handling of" and "caused by".
CHAIN = 8
TEXT_LIMIT = 2_000


class DeviceLost(Exception):
    """The device is lost to this process."""


class WrongCount(Exception):
    """`predict` did not return one result for each item."""


class NeverFits(Exception):
    """The job does not fit into the device's memory although it runs alone."""


class JobCanceled(Exception):
    """The job was canceled before its turn on the device."""


#: what the engine itself finds, against what the author's code raises
OWN_CODES: dict[type[BaseException], str] = {
    WrongCount: "invalid_output",
    NeverFits: "input_too_large",
    JobCanceled: "canceled",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch could have gone through."""
    return any(_is_memory(each) for each in _chain(error))


def is_sticky(error: BaseException) -> bool:
    """Whether the device is lost; out of memory is not such a fault, however it is raised."""
    return any(_is_device_fault(each) and not _is_memory(each) for each in _chain(error))


def text_of(error: BaseException) -> str:
    """What an exception says, as text that can be sent; its `__str__` is the author's code too."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - whatever it raises, the job has its own error to tell
        return ""
    return said.encode(errors="replace").decode()


def describe(error: BaseException, doing: str) -> str:
    """One line for the client: what raised what."""
    said = " ".join(text_of(error).split())[:TEXT_LIMIT]
    name = type(error).__name__
    return f"{doing} raised {name}: {said}" if said else f"{doing} raised {name}"


def problem_of(error: BaseException, doing: str, job_id: str) -> dict[str, Any]:
    """The problem of a job that failed; the model says whether another try may help."""
    own = OWN_CODES.get(type(error))
    if own is not None:
        return problem(own, text_of(error), job_id=job_id)
    if is_out_of_memory(error):
        return problem("out_of_memory", describe(error, doing), job_id=job_id)
    retryable = getattr(error, "retryable", False) is True
    return problem("model_error", describe(error, doing), retryable=retryable, job_id=job_id)


def _is_memory(error: BaseException) -> bool:
    # By name: the class lives in torch, cupy or elsewhere, and none of them need be installed.
    if any(each.__name__ == "OutOfMemoryError" for each in type(error).__mro__):
        return True
    if isinstance(error, MemoryError):
        return True
    if getattr(error, "error_code", None) == MEMORY_CODE and _is_accelerators(error):
        return True
    return isinstance(error, RuntimeError) and _says(error, MEMORY_TEXTS)


def _is_device_fault(error: BaseException) -> bool:
    if _is_accelerators(error):
        return True
    said = isinstance(error, RuntimeError) and _says(error, STICKY_TEXTS)
    return said and not _says(error, REFUSAL_TEXTS)


def _is_accelerators(error: BaseException) -> bool:
    return any(each.__name__ == "AcceleratorError" for each in type(error).__mro__)


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    said = text_of(error)
    return any(text in said for text in texts)


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(CHAIN):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__

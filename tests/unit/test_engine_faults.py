"""What an exception means for the job and for the engine."""

import pytest

from worker.engine.faults import (
    JobCanceled,
    NeverFits,
    WrongCount,
    describe,
    is_out_of_memory,
    is_sticky,
    problem_of,
)


class OutOfMemoryError(RuntimeError):
    """As torch, cupy and others call theirs."""


class AcceleratorError(RuntimeError):
    """As torch calls its own."""


class Busy(Exception):
    retryable = True


def accelerators(code, text):
    """What torch raises of a CUDA call that failed, as its own C++ makes it."""
    torch = pytest.importorskip("torch")
    error = torch.AcceleratorError(text)
    error.error_code = code
    return error


def raised(call):
    with pytest.raises(RuntimeError) as caught:
        call()
    return caught.value


def chained(inner):
    try:
        try:
            raise inner
        except type(inner):
            raise ValueError("the model's own words")  # noqa: B904 - as models do
    except ValueError as error:
        return error


MEMORY = [
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    AcceleratorError("CUDA error: out of memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    MemoryError(),
    chained(OutOfMemoryError("no room")),
]
STICKY = [
    AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    chained(AcceleratorError("unspecified launch failure")),
]
ORDINARY = [ValueError("CUDA error is mentioned only"), RuntimeError("shape mismatch"), KeyError(1)]


@pytest.mark.parametrize("error", MEMORY)
def test_out_of_memory_is_told_by_name_and_text_and_leaves_the_device_alive(error):
    assert is_out_of_memory(error)
    assert not is_sticky(error)
    found = problem_of(error, "predict", "job_1")
    assert (found["code"], found["retryable"]) == ("out_of_memory", True)


@pytest.mark.parametrize("error", STICKY)
def test_other_faults_of_the_device_are_sticky(error):
    assert is_sticky(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", ORDINARY)
def test_ordinary_errors_are_the_models(error):
    assert not is_sticky(error)
    assert not is_out_of_memory(error)
    found = problem_of(error, "predict", "job_1")
    assert (found["code"], found["retryable"], found["job_id"]) == ("model_error", False, "job_1")


def test_the_model_may_ask_for_another_try():
    assert problem_of(Busy("later"), "finish", "job_1")["retryable"] is True


@pytest.mark.parametrize(
    ("error", "code"),
    [(WrongCount("1"), "invalid_output"), (NeverFits("2"), "input_too_large"),
     (JobCanceled("3"), "canceled")],
)  # fmt: skip
def test_the_engines_own_findings_have_codes_of_their_own(error, code):
    found = problem_of(error, "predict", "job_1")
    assert (found["code"], found["detail"]) == (code, str(error))


def test_a_description_is_one_line():
    assert describe(ValueError("a\n  b"), "prepare") == "prepare raised ValueError: a b"
    assert describe(ValueError(), "prepare") == "prepare raised ValueError"
    assert len(describe(ValueError("x" * 10_000), "prepare")) < 2_100


HINT = "\nCUDA kernel errors might be asynchronously reported at some other API call."


@pytest.mark.parametrize(
    ("code", "text", "memory"),
    [
        (2, "CUDA error: out of memory" + HINT, True),
        (2, "CUDA error: the allocator's own words", True),
        (700, "CUDA error: an illegal memory access was encountered" + HINT, False),
        (710, "CUDA error: device-side assert triggered" + HINT, False),
        (719, "CUDA error: unspecified launch failure" + HINT, False),
        (214, "CUDA error: uncorrectable ECC error encountered", False),
    ],
)
def test_torch_s_own_error_of_a_device_is_told_by_its_code(code, text, memory):
    error = accelerators(code, text)
    assert (is_out_of_memory(error), is_sticky(error)) == (memory, not memory)


def test_torch_s_own_errors_of_memory_are_no_fault_of_the_device():
    torch = pytest.importorskip("torch")
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        raised(lambda: torch.empty(2**60)),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA driver error: out of memory"),
    ):
        assert (is_out_of_memory(error), is_sticky(error)) == (True, False), error


def test_errors_of_communication_are_sticky_and_refused_calls_are_the_model_s():
    torch = pytest.importorskip("torch")
    lost = torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp, unhandled cuda")
    assert (is_out_of_memory(lost), is_sticky(lost)) == (False, True)
    for text in (
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a"
        " non-contiguous input.",
        "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle)`",
    ):
        refused = RuntimeError(text)
        assert (is_out_of_memory(refused), is_sticky(refused)) == (False, False)


def test_memory_that_ran_out_while_a_fault_was_handled_hides_no_fault():
    torch = pytest.importorskip("torch")
    error = torch.OutOfMemoryError("no room")
    error.__context__ = accelerators(700, "CUDA error: an illegal memory access was encountered")
    assert is_sticky(error)

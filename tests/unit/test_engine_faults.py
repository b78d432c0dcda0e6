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

import subprocess
import sys

import pytest
import torch

from ldm.runtime.device import choose_device, choose_dtype, peak_memory
from ldm.runtime.formats import computes
from ldm.runtime.resident import free_memory

CPU = torch.device("cpu")


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == CPU
    assert choose_device().type in ("cuda", "mps", "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "", "cpu:x", torch.float16])
def test_other_devices_are_refused_with_what_there_is(name):
    with pytest.raises(ValueError, match=rf"device '{name}' is not available: give .*cpu"):
        choose_device(name)


def test_a_cpu_computes_in_float32():
    assert choose_dtype(CPU)[0] == torch.float32
    assert choose_dtype(CPU, torch.bfloat16) == (torch.bfloat16, "as asked")


@pytest.mark.parametrize("features", [{}, {"avx512_bf16": True}, {"amx_bf16": True}])
def test_a_cpu_that_has_instructions_for_bfloat16_says_so(features, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert ("--dtype bfloat16" in choose_dtype(CPU)[1]) == bool(features)


def test_float16_on_a_cpu_is_allowed_where_torch_can_and_called_slow():
    if computes(CPU, torch.float16):
        assert "many times faster" in choose_dtype(CPU, torch.float16)[1]
    else:
        with pytest.raises(
            ValueError, match=r"cannot compute in torch\.float16: use torch\.float32"
        ):
            choose_dtype(CPU, torch.float16)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, "float16"])
def test_what_is_no_format_of_a_network_is_refused(dtype):
    with pytest.raises(
        ValueError, match=f"this cpu device cannot compute in {dtype!r}: use torch.float32"
    ):
        choose_dtype(CPU, dtype)


def test_a_gpu_that_computes_wrongly_in_half_precision_gets_another_format(monkeypatch):
    for broken, chosen in (
        ([], torch.float16),
        ([torch.float16], torch.bfloat16),
        ([torch.float16, torch.bfloat16], torch.float32),
    ):
        monkeypatch.setattr(
            "ldm.runtime.formats.computes", lambda device, dtype, broken=broken: dtype not in broken
        )
        assert choose_dtype(torch.device("cuda"))[0] == chosen


def test_memory_is_counted_in_bytes():
    assert 10**7 < peak_memory(CPU) < 10**12
    before = peak_memory(CPU)
    torch.ones(10**8, dtype=torch.uint8)
    assert peak_memory(CPU) >= before
    assert 10**6 < free_memory(CPU) < 10**14


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_memory_is_that_of_this_process_and_not_of_what_started_it():
    large = torch.ones(10**9, dtype=torch.uint8)
    code = "import torch; from ldm.runtime.device import *; print(peak_memory(torch.device('cpu')))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10**8 < int(ran.stdout) < large.nbytes

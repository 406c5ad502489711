"""What is told of a file, on the command line and in errors."""

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ldm
from ldm import cli
from ldm.models.weights import CheckpointError, inspect, read
from ldm.models.weights.foreign import known_family, other_sizes
from ldm.models.weights.mapped import Weight, contiguous_stride
from ldm.models.weights.opening import OpenedCheckpoint
from ldm.runtime import text
from ldm.runtime.text import one_line
from manifests import MANIFESTS

MANIFEST = MANIFESTS["sd-v1"]


def test_doctests():
    assert doctest.testmod(text) == (0, 1)


@pytest.mark.parametrize("given", ["a" * 10**6, "\x1b" * 10**6, "\n" * 499, "\ud800" * 80, "目\r"])
def test_a_message_is_one_printable_line(given):
    for shown in (one_line(given), str(CheckpointError(given))):
        assert shown.isprintable()
        assert 0 < len(shown) <= 500


def test_both_ends_of_a_long_message_are_kept():
    shown = one_line("what is wrong: " + "x" * 10**6 + "; what to do")
    assert shown.startswith("what is wrong: x")
    assert shown.endswith("x; what to do")


def test_the_exit_code_of_inspect_says_whether_it_can_be_loaded(tiny_file, tmp_path, capsys):
    assert cli.main(["inspect", str(tiny_file)]) == 0
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert cli.main(["inspect", str(tmp_path / "a.safetensors")]) == 1
    assert cli.main(["inspect", str(tmp_path / "b.safetensors")]) == 2
    assert "loadable    no" in capsys.readouterr().out


def test_verify_finds_a_flipped_bit(tiny_file, tmp_path, capsys):
    assert cli.main(["inspect", "--verify", str(tiny_file)]) == 0
    assert "checksums, all right" in capsys.readouterr().out
    data = bytearray(tiny_file.read_bytes())
    data[-5] ^= 1
    (tmp_path / "a.safetensors").write_bytes(data)
    assert cli.main(["inspect", str(tmp_path / "a.safetensors")]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", "--verify", str(tmp_path / "a.safetensors")]) == 1
    assert "1 of 348 are damaged: " in capsys.readouterr().out


def in_other_sizes(change=2):
    weights = {
        name: Weight(None, torch.float32, shape, contiguous_stride(shape), 0)
        for name, (sizes, _) in MANIFEST.items()
        for shape in [tuple(size // change or 1 for size in sizes)]
    }
    return OpenedCheckpoint(Path("sd.ckpt"), "torch", weights)


def test_a_model_in_other_sizes_is_told_so():
    opened = in_other_sizes()
    with pytest.raises(CheckpointError, match=r"like sd1, but text.0.vocabulary .*--family"):
        known_family(opened, None)
    lacking = dict(opened.weights)
    lacking.pop("model.diffusion_model.out.2.weight")
    assert other_sizes(replace(opened, weights=lacking)) is None


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("sd9", "no family .sd1, .* and no JSON"),
        (3, "not a int"),
        ("\ud800\x1b" * 999, "not describe a family"),
    ],
)
def test_a_family_that_is_none(tiny_file, family, said):
    for function in (read, inspect):
        with pytest.raises(ValueError, match=said) as error:
            function(tiny_file, family=family)
        assert str(error.value).isprintable()
        assert len(str(error.value)) <= 500


def test_a_family_by_its_file(tiny_family, tiny_file, tmp_path):
    (tmp_path / "family.json").write_text(json.dumps(tiny_family.to_dict()))
    assert read(tiny_file, family=tmp_path / "family.json").family == tiny_family
    assert ldm.load(tiny_file, family=str(tmp_path / "family.json")).family == tiny_family

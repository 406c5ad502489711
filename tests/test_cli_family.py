"""--family: what a checkpoint is, where it does not tell."""

import json

import numpy as np
import pytest
from safetensors.torch import save_file

from ldm.images.files import open_image
from ldm.models.families import SD1
from ldm.models.weights import inspect


def pixels(path):
    return np.asarray(open_image(path)).astype(int)


@pytest.fixture
def nameless(tiny_compvis, tiny_family, tiny_checkpoint, tmp_path):
    """The tiny model's weights and merges, in a file that does not say what they are; and its
    family as a JSON file."""
    merges = "\n".join(map(" ".join, tiny_checkpoint.merges))
    save_file(tiny_compvis, tmp_path / "nameless.safetensors", {"merges": merges})
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_family.to_dict()))
    return "nameless.safetensors"


def test_a_checkpoint_that_does_not_tell_its_family_is_drawn_with_the_one_given(run, nameless):
    drawing = f"txt2img --prompt cat --n_iter 1 --n_samples 1 --skip_grid --ckpt {nameless}"
    code, _, error = run(f"{drawing} --outdir out", ckpt=False)
    assert code == 2
    assert error.count("\n") == 1
    assert run(f"{drawing} --family tiny.json --outdir given", ckpt=False)[0] == 0
    assert run("txt2img --prompt cat --n_iter 1 --n_samples 1 --skip_grid --outdir known")[0] == 0
    np.testing.assert_array_equal(
        pixels("given/samples/00000.png"), pixels("known/samples/00000.png")
    )


def test_inspect_compares_with_the_family_given(run, nameless, tiny_family, tiny_file):
    code, out, _ = run(f"inspect {nameless} --family tiny.json", ckpt=False)
    assert (code, out) == (
        0,
        f"{inspect('nameless.safetensors', family=tiny_family, hashed=True)}\n",
    )
    assert inspect("nameless.safetensors", family=tiny_family).loadable
    code, out, _ = run(f"inspect {tiny_file} --family sd1", ckpt=False)
    assert out == f"{inspect(tiny_file, family=SD1, hashed=True)}\n"
    assert not inspect(tiny_file, family=SD1).loadable


def test_a_family_that_is_not_known_is_named(run, tiny_file):
    for line in (f"inspect {tiny_file} --family sd7", "txt2img --family sd7"):
        code, out, error = run(line, ckpt=False)
        assert (code, out) == (2, "")
        assert "argument --family: " in error
        assert "sd7" in error
        assert error.count("\n") == 1


def test_a_tokenizer_of_more_words_than_the_text_encoder_knows_is_said(run, nameless, tiny_compvis):
    save_file(tiny_compvis, "bare.safetensors")
    code, _, error = run("txt2img --ckpt bare.safetensors --family tiny.json", ckpt=False)
    assert code == 2
    assert "bare.safetensors has no merges of its tokenizer: CLIP's make 49408 tokens" in error
    assert error.count("\n") == 1

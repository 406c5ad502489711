"""What the programs without a prompt grammar do with long prompts: they read one chunk."""

import warnings

import pytest

from helpers import first_call
from ldm.prompts.chunks import chunks
from ldm.request import Request

LONG = "a cat a dog a cat do do do do do"  # its first ten tokens end within it


@pytest.mark.parametrize("name", ["compvis", "diffusers"])
def test_compvis_and_diffusers_read_one_chunk_and_say_what_is_left_out(tiny, name):
    size = tiny.tokenizer.length
    with pytest.warns(UserWarning, match=f"cut after {size - 2} tokens.*not read: .*do do"):
        long = first_call(tiny, Request(LONG, compat=name, guidance_scale=1)).conditioning
    assert long.context.shape[1] == size
    ids = tiny.tokenizer(LONG)  # cut as the tokenizer cuts
    found = tiny.text.norm(tiny.text(ids).hidden[-1])
    assert (long.context - found).abs().max() < 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first_call(tiny, Request("a cat", compat=name))


@pytest.mark.parametrize("name", [None, "a1111", "comfyui"])
def test_others_read_it_all(tiny, name):
    found = first_call(tiny, Request(LONG, compat=name, guidance_scale=1)).conditioning
    assert found.context.shape[1] == 2 * tiny.tokenizer.length


def test_a_grammar_that_is_asked_for_reads_it_all(tiny):
    request = Request(LONG, compat="compvis", prompt_syntax="a1111", guidance_scale=1)
    assert first_call(tiny, request).conditioning.context.shape[1] == 2 * tiny.tokenizer.length


def test_a_very_long_rest_is_shortened(tiny):
    with pytest.warns(UserWarning, match="not read") as told:
        assert len(chunks(tiny.tokenizer, "a cat " * 500, "cut")) == 1
    assert len(str(told[0].message)) < 500


def test_without_guidance_the_negative_is_not_encoded(tiny, monkeypatch):
    read = []
    encode = type(tiny.tokenizer).encode
    monkeypatch.setattr(
        type(tiny.tokenizer), "encode", lambda self, text: read.append(text) or encode(self, text)
    )
    first_call(tiny, Request("a cat", "a dog", guidance_scale=1))
    assert set(read) == {"a cat"}
    read.clear()
    first_call(tiny, Request("a cat", "a dog"))
    assert {"a cat", "a dog"} <= set(read)

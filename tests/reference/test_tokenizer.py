"""The tokenizer against transformers' on plain texts, where both clean up alike (transformers has
no ftfy any more)."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm.clip.tokenizer import Tokenizer
from ldm.clip.vocabulary import decode

transformers = pytest.importorskip("transformers")

OURS = Tokenizer()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """transformers' CLIPTokenizer, from a vocabulary written down here: nothing is downloaded."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + i) for i in range(256 - len(letters))]
    pieces = (
        letters
        + [letter + "</w>" for letter in letters]
        + [left + right for left, right in OURS.merges]
    )
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in OURS.merges)
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": 77,
                "pad_token": "<|endoftext|>",
            }
        )
    )
    return transformers.CLIPTokenizer.from_pretrained(folder)


PROMPTS = [
    "",
    "a painting of a virus monster playing guitar",
    "masterpiece, best quality, ((highly detailed)), 8k, f/1.8, trending on artstation",
    "she'll say it's the dog's, I'm sure; they've won't've",
    "cat " * 100,
    "café Zürich naïve São Paulo Đặng",
    "猫cat猫 さくら 고양이 Привет мир",
    "🙂🌸 cherry blossom",
    "  two  spaces\tand a\nline  ",
    "<lora:foo:0.8> a_b a|b --- ?!?!",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts(theirs, prompt):
    theirs_77 = theirs(prompt, padding="max_length", max_length=77, truncation=True)["input_ids"]
    assert OURS(prompt)[0].tolist() == theirs_77


def test_random_ascii(theirs):
    """ftfy and HTML leave ASCII without an ampersand alone, but for escapes of terminals, which are
    not printable."""
    alphabet = string.ascii_letters + string.digits + string.punctuation.replace("&", "") + "   "

    @given(st.text(alphabet, max_size=60))
    def agree(text):
        assert OURS.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]

    agree()


def test_decoding(theirs):
    for prompt in PROMPTS[:4]:
        ids = OURS.encode(prompt)
        assert decode(OURS, ids) == theirs.decode(ids, clean_up_tokenization_spaces=False).strip()

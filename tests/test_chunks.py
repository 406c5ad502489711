"""Where the chunks of a long text end, and the weights of their tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm.clip.tokenizer import Tokenizer
from ldm.prompts import comfyui
from ldm.prompts.chunks import chunks, split_at_commas

CLIP = Tokenizer()


def counts(prompt: str) -> list[int]:
    return [len(chunk) for chunk in chunks(CLIP, prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [0]),
        ("cat " * 75, [75]),
        ("cat " * 76, [75, 1]),
        ("cat " * 300, [75] * 4),
        ("cat " * 75 + ",", [75, 1]),
        ("cat " * 54 + "," + " dog" * 40, [75, 20]),  # the comma is 21 from the end: too far
        ("cat " * 55 + "," + " dog" * 40, [56, 40]),  # 20: just near enough
        ("cat " * 60 + ", dog dog, " + "cow " * 40, [64, 40]),  # the last comma counts
        ("cat " * 74 + "," + " dog" * 3, [75, 3]),
        ("cat " * 74 + ",," + " dog" * 3, [75, 3]),  # two commas are another token, ",,"
        (
            "cat " * 60 + ", " + "dog " * 14 + ", " + "cow " * 5,
            [75, 6],
        ),  # nothing moves for a comma's own sake
        ("cat " * 60 + ", " + "dog " * 80, [61, 75, 5]),
        ("a BREAK b c", [1, 2]),
        ("BREAK a", [0, 1]),
        ("a BREAK", [1]),
        ("a BREAK BREAK b", [1, 0, 1]),
        ("BREAK", [0]),
        ("cat " * 76 + "BREAK dog", [75, 1, 1]),
        ("(cat:1.3) " * 76, [75, 1]),
    ],
)
def test_where_chunks_end(prompt, expected):
    assert counts(prompt) == expected


@given(st.lists(st.sampled_from([0, 1, 2]), max_size=60), st.integers(1, 30))
def test_cutting_keeps_every_token_in_its_place(ids, size):
    tokens = [(token, float(i)) for i, token in enumerate(ids)]
    result = split_at_commas(tokens, size, comma=0)
    assert [token for chunk in result for token in chunk] == tokens
    assert all(len(chunk) <= size for chunk in result)
    assert all(result) or result == [[]]


def test_weights_of_tokens():
    (chunk,) = chunks(CLIP, "a (red:1.3) [cat]")
    assert chunk == [(320, 1.0), (736, 1.3), (2368, 1 / 1.1)]
    assert chunks(CLIP, "(a:2) [b]", "off") == [[(i, 1.0) for i in CLIP.encode("(a:2) [b]")]]
    assert chunks(CLIP, "(a:2) BREAK", "comfyui") == [[(320, 2.0), (CLIP.encode("break")[0], 1.0)]]


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("((a))", [("a", 1.1 * 1.1)]),
        ("((a:1.5) b:1.2)", [("a", 1.5), (" b", 1.2)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(:1.3)", [(":1.3", 1.1)]),
        ("(a(:1.3))", [("a", 1.1), (":1.3", 1.1 * 1.1)]),
        (r"\(a:1.3\)", [("(a:1.3)", 1.0)]),
        ("a) (b", [("a) (b", 1.0)]),
        ("()", []),
        ("[a:b:0.5] BREAK", [("[a:b:0.5] BREAK", 1.0)]),
    ],
)
def test_grammar_of_comfyui(prompt, runs):
    assert comfyui.parse_attention(prompt) == runs


def test_comfyui_divides_no_short_word_and_knows_no_rule_for_commas():
    word = "zqxjk"  # of several tokens
    length = len(CLIP.encode(word))
    assert 1 < length < 8
    prompt = "a " * 60 + ", " + "a " * (75 - 61 - length + 1) + word + " end"
    assert [len(chunk) for chunk in chunks(CLIP, prompt, "comfyui")] == [76 - length, length + 1]
    assert [len(chunk) for chunk in chunks(CLIP, prompt, "a1111")] == [61, 77 - 61]
    assert chunks(CLIP, "", "comfyui") == [[]]


@given(st.text(st.sampled_from("ab()\\: .1[]"), max_size=30))
def test_grammar_of_comfyui_never_loses_text(prompt):
    def letters(text):
        return "".join(char for char in text if char in "ab[]")

    assert letters("".join(run for run, _ in comfyui.parse_attention(prompt))) == letters(prompt)

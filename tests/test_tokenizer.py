"""The tokenizer: known ids, round trips, padding and cutting, and tokenizers of fewer merges."""

import json
from pathlib import Path

import ftfy
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from ldm.clip.tokenizer import CLIP_SIZE, Tokenizer, clean, clip_merges, parse_merges
from ldm.clip.vocabulary import decode, tokenizer_for_words

CASES = json.loads((Path(__file__).parent / "data" / "tokenizer_cases.json").read_text())["cases"]
CAPTIONS = [
    "a red circle above a blue triangle",
    "the turquoise heart's left, 2 small crosses",
    "pentagonal",
]
CLIP = Tokenizer()


def without_space(text: str) -> str:
    return regex.sub(r"\s", "", text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["text"])[:40])
def test_known_ids(case):
    assert CLIP.encode(case["text"])[:75] == case["ids"]


def test_there_are_200_known_cases():
    assert len(CASES) == 200


def test_vocabulary():
    assert (len(CLIP), CLIP.start, CLIP.end, CLIP.pad, CLIP.length) == (
        CLIP_SIZE,
        49406,
        49407,
        49407,
        77,
    )


def test_padding_cutting_and_the_empty_text():
    rows = CLIP(["", "a cat", "cat " * 75, "cat " * 75 + "dog"])
    assert rows.shape == (4, 77)
    assert rows[0].tolist() == [49406] + [49407] * 76
    assert rows[1].tolist() == [49406, 320, 2368] + [49407] * 74
    assert rows[2].tolist() == rows[3].tolist() == [49406] + [2368] * 75 + [49407]


def test_one_text_is_a_batch_of_one_and_no_text_a_batch_of_none():
    assert CLIP("a cat").equal(CLIP(["a cat"]))
    assert CLIP([]).shape == (0, 77)


def test_another_padding():
    assert Tokenizer(pad=0)("a cat")[0].tolist() == [49406, 320, 2368, 49407] + [0] * 73


# CLIP's pattern ignores case, and so finds no piece for the one mark that folds to a letter
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u0345")))
def test_every_text_is_spelled_by_its_ids(text):
    assert without_space(decode(CLIP, CLIP.encode(text))) == without_space(clean(text))


@given(st.text(st.characters(max_codepoint=127)) | st.text(" `'\"&<>;lt"))
def test_text_that_needs_no_repair_is_cleaned_as_by_ftfy(text):
    assert clean(text) == regex.sub(r"\s+", " ", ftfy.fix_text(text)).strip().lower()


@given(st.binary())
def test_every_byte_string_has_ids(data):
    text = data.decode("latin-1")
    ids = CLIP.encode(text)
    assert bool(ids) == bool(clean(text))
    assert all(0 <= i < 49406 for i in ids)


@given(st.lists(st.from_regex(r"[a-z]{1,12}|[0-9]|[!,.?]{1,3}", fullmatch=True)))
def test_words_come_back_with_single_spaces(words):
    text = " ".join(words)
    assert decode(CLIP, CLIP.encode(text.upper())) == text


@given(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_known_words_do_not_depend_on_what_was_seen_before(one, other):
    fresh = Tokenizer([])
    together = Tokenizer([])
    together.encode(one)
    assert together.encode(other) == fresh.encode(other)


def test_decoding_half_a_character_does_not_fail():
    assert decode(CLIP, Tokenizer([]).encode("é")[:1]) == "\ufffd"


def test_fewer_merges_split_the_same_words_in_the_same_way():
    small = tokenizer_for_words(CAPTIONS, length=32)
    for caption in CAPTIONS:
        of_small, of_clip = small.encode(caption), CLIP.encode(caption)
        assert [decode(small, [i]) for i in of_small] == [decode(CLIP, [i]) for i in of_clip]
    assert len(small) == 514 + len(small.merges) < 700
    assert small("a heart").shape == (1, 32)
    assert (small.start, small.end, small.pad) == (len(small) - 2, len(small) - 1, len(small) - 1)
    kept = set(small.merges)
    assert [pair for pair in clip_merges() if pair in kept] == list(small.merges)


def test_fewer_merges_can_still_spell_any_word():
    small = tokenizer_for_words(CAPTIONS)
    assert decode(small, small.encode("Żółw & zebra")) == "żółw & zebra"


def test_merges_survive_as_plain_lines():
    small = tokenizer_for_words(CAPTIONS, length=32)
    lines = [" ".join(pair) for pair in small.merges]
    assert Tokenizer(parse_merges(["#version: 0.2", *lines]), length=32).encode(
        CAPTIONS[0]
    ) == small.encode(CAPTIONS[0])
    assert parse_merges(lines) == small.merges


def test_what_cannot_be_used_is_named():
    with pytest.raises(ValueError, match="must be a str, not int: 7"):
        CLIP.encode(7)
    with pytest.raises(ValueError, match="must be a str, not NoneType"):
        CLIP(["a cat", None])
    with pytest.raises(ValueError, match="49408 is no id"):
        decode(CLIP, [49408])
    with pytest.raises(ValueError, match="length 2 has no room"):
        Tokenizer(length=2)
    with pytest.raises(ValueError, match="pad 514 is no id"):
        Tokenizer([], pad=514)
    with pytest.raises(ValueError, match="'a b c'"):
        parse_merges(["a b", "a b c"])
    with pytest.raises(ValueError, match="neither bytes nor made"):
        Tokenizer([("a", "bc")])
    with pytest.raises(ValueError, match="same piece"):
        Tokenizer([("a", "b"), ("a", "b")])


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|startoftext|>"])
def test_what_is_beside_a_special_token_is_cleaned_by_itself(special):
    token, ampersand = CLIP.vocabulary[special], CLIP.encode("a & b")
    assert CLIP.encode(f"{special} a &amp; b") == [token, *ampersand]
    assert CLIP.encode(f"a &amp; b{special}a &amp; b") == [*ampersand, token, *ampersand]
    assert CLIP.encode("<p> a &amp; b") != CLIP.encode("<p> a & b")  # other brackets are HTML

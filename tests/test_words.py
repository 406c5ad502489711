"""Which words a small model has learnt, and what is said of others."""

import warnings

import pytest

import ldm
from ldm.clip.vocabulary import tokenizer_for_words, unlearnt, words

CAPTIONS = ["a red star above the blue ring", "orange circle, on pink background"]


def test_the_words_of_a_tokenizer_are_those_it_was_made_for():
    known = words(tokenizer_for_words(CAPTIONS))
    letters = (word for text in CAPTIONS for word in text.replace(",", "").split())
    assert known == sorted({word for word in letters if len(word) > 1})


def test_what_a_model_has_not_learnt_is_told_in_a_line():
    model = ldm.load(device="cpu")
    assert {"red", "heart", "background", "above", "gray"} <= set(words(model.tokenizer))
    assert unlearnt(model.tokenizer, ["a grey CIRCLE, 2!"]) == ["grey"]
    with pytest.warns(UserWarning, match="^the model has not learnt: lighthouse, at, dusk; it "):
        model.conditioning(["a lighthouse at dusk"])
    with pytest.warns(UserWarning, match="has not learnt") as told:
        model.conditioning([" ".join(f"zq{'x' * i}" for i in range(100))])
    assert len(str(told[0].message)) < 600
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.conditioning(["a red star above a blue ring on a pink background", ""])


@pytest.mark.parametrize(
    ("text", "syntax", "lacking"),
    [
        ("a red heart \U0001f642 2!", "a1111", "\U0001f642, 2, !"),
        ("a \u732b, 3.5", "a1111", "\u732b, 3, ., 5"),
        ("(a red heart:1.3), [blue] star", "a1111", None),  # signs of the grammar are not read
        ("a red heart BREAK (star)", "a1111", None),
        ("(a red heart:1.3)", "comfyui", None),
        ("(a red heart:1.3)", "off", "(, :, 1, ., 3, )"),
        ("a cyan ring, on a pink background <|endoftext|>", "off", None),
        ("", "a1111", None),
    ],
)
def test_digits_signs_and_emoji_are_told_that_no_caption_had(text, syntax, lacking):
    model = ldm.load(device="cpu")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.conditioning([text], syntax)
    found = [str(one.message).partition("; ")[0] for one in told]
    assert found == ([] if lacking is None else [f"the model has not learnt: {lacking}"])


def test_every_sign_of_the_captions_is_known_and_no_other():
    """All signs and digits of ASCII: the built-in model's captions have commas alone."""
    model = ldm.load(device="cpu")
    signs = [chr(i) for i in range(33, 127) if not chr(i).isalpha()]
    embedding = model.text.token.weight
    found = [sign for sign in signs if unlearnt(model.tokenizer, [sign], embedding)]
    assert [sign for sign in signs if sign not in found] == [","]


def test_of_random_weights_nothing_is_said_but_by_the_tokenizer(tiny):
    embedding = tiny.text.token.weight
    assert unlearnt(tiny.tokenizer, ["a cat, dog 2!"], embedding) == ["dog"]

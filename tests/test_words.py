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
    with pytest.warns(UserWarning, match="^the model has not learnt: lighthouse, at, dusk$"):
        model.conditioning(["a lighthouse at dusk"])
    with pytest.warns(UserWarning, match="has not learnt") as told:
        model.conditioning([" ".join(f"zq{'x' * i}" for i in range(100))])
    assert len(str(told[0].message)) < 500
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.conditioning(["a red star above a blue ring on a pink background", ""])

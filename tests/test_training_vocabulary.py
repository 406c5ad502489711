"""A vocabulary for captions that CLIP's was not made for."""

from collections import Counter

from ldm.clip.tokenizer import Tokenizer
from ldm.clip.vocabulary import tokenizer_for_words
from ldm.training.vocabulary import learnt, tokenizer_for_captions

CAPTIONS = ["红色的苹果", "红色背景，苹果", "a hippopotamus", "a red apple"] * 5


def test_without_merges_of_its_own_it_is_the_smallest_that_spells_as_clip_does():
    none = tokenizer_for_captions(CAPTIONS, 32, most=0)
    assert none.merges == tokenizer_for_words(CAPTIONS, 32).merges


def test_words_that_fell_into_pieces_become_whole():
    before, after = (tokenizer_for_captions(CAPTIONS, 32, 5, most) for most in (0, 1000))
    for word, pieces in (("苹果", 1), ("hippopotamus", 1), ("红色的苹果", 1)):
        assert len(before.encode(word)) > pieces
        assert len(after.encode(word)) == pieces
    assert after.encode("red") == before.encode("red")


def test_a_pair_that_is_seldom_met_is_not_merged():
    assert tokenizer_for_captions(CAPTIONS, 32, 50).merges == tokenizer_for_words(CAPTIONS).merges


def test_the_merges_are_those_of_sennrichs_example():
    """Byte-pair encoding's own example: low, lower, newest, widest (2016, alg. 1)."""
    words = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})
    merges = learnt(words, Tokenizer([]), least=1, most=4)
    assert merges[:3] == [("s", "t</w>"), ("e", "st</w>"), ("l", "o")]  # met 9, 9 and 7 times
    assert Tokenizer(merges[:3]).join("lowest")[0] == ["lo", "w", "est</w>"]


def test_the_order_of_the_captions_does_not_matter():
    first, second = (tokenizer_for_captions(order, 32, 5) for order in (CAPTIONS, CAPTIONS[::-1]))
    assert first.merges == second.merges

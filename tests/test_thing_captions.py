"""Captions of pictures of things."""

import itertools

import numpy as np
import pytest

from ldm.training.things.captions import EVERYTHING, Said, caption, draw_said, name_of
from ldm.training.things.collection import Entry
from ldm.training.things.compositions import GRIDS, Composition, compose
from ldm.training.things.grounds import PATTERNS, Ground
from ldm.training.things.words import GROUNDS, STYLES, plural, with_article
from small_things import collection

ALL = collection()


def rng_of(seed):
    return np.random.default_rng(seed)


def test_a_full_caption_names_thing_style_and_ground():
    for i, style in itertools.product(range(40), ("flat", "3d")):
        number = next(
            k for k, e in enumerate(ALL.entries) if (e.thing, e.style) == ("apple", style)
        )
        scene = compose(ALL, (number,), "alone", True, rng_of(i))
        words = caption([ALL.entries[number]], scene, EVERYTHING, rng_of(i))
        before, after, _ = STYLES[style]
        assert "apple" in words
        assert "my apple" not in words
        assert any(name in words for name in (*before, *after))
        assert any(name in words.replace("grey", "gray") for name in scene.ground.colours) or any(
            name in words for name in ("violet", "turquoise")
        )


def test_what_is_not_said_is_not_in_the_caption():
    said = Said("english", usual=True, style=False, ground=False, placed=False, filler=False)
    for i in range(40):
        scene = compose(ALL, (0,), "alone", False, rng_of(i))
        assert caption([ALL.entries[0]], scene, said, rng_of(i)) in ("apple", "an apple")


def test_chinese_is_spoken_where_all_have_a_chinese_name():
    said = Said("chinese", usual=True, style=True, ground=True, placed=True, filler=False)
    apple, leaf, moon = (ALL.entries[i] for i in (0, 6, 12))
    pair = Composition((0, 6), Ground("plain", ("blue",)), relation="above")
    words = caption([apple, leaf], pair, said, rng_of(0))
    assert all(part in words for part in ("苹果在叶子的上面", "扁平风格", "蓝色背景"))
    assert caption([apple, moon], pair, said, rng_of(0)).isascii()


def test_a_face_is_told_by_its_parts():
    scene = Composition((18,), Ground("plain", ("white",)))
    words = caption([ALL.entries[18]], scene, EVERYTHING, rng_of(0))
    assert "happy person with a beard and glasses" in words


@pytest.mark.parametrize("count", GRIDS)
def test_some_things_alike_are_named_in_the_plural(count):
    scene = Composition((0,), Ground("plain", ("white",)), count=count)
    words = caption([ALL.entries[0]], scene, EVERYTHING, rng_of(0))
    assert "apples" in words


def test_a_thing_is_called_by_its_names_or_its_kind_and_by_no_other_tag():
    entry = Entry("x", "flat", "food", ("apple", "red apple"), ("fruit", "omg"))
    called = {name_of(entry, False, rng_of(i)) for i in range(200)}
    assert called == {"apple", "red apple", "fruit"}
    assert {name_of(entry, True, rng_of(i)) for i in range(200)} == {"apple"}


def test_captions_differ():
    rng = rng_of(0)
    scene = Composition((0,), Ground("plain", ("gray",)))
    told = {caption([ALL.entries[0]], scene, draw_said(rng), rng) for _ in range(300)}
    assert len(told) > 100
    assert any("grey" in words for words in told)
    assert any("gray" in words for words in told)


@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("cat", "cats"), ("box", "boxes"), ("berry", "berries"), ("key", "keys"),
        ("fire engine", "fire engines"), ("snow man", "snow men"), ("scissors", None),
        ("glass of milk", None),
    ],
)  # fmt: skip
def test_plurals(name, many):
    assert plural(name) == many


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        ("apple", "an apple"), ("cat", "a cat"), ("8-bit cat", "an 8-bit cat"),
        ("hourglass", "an hourglass"), ("x ray", "an x ray"),
        ("unicorn", "a unicorn"), ("glasses", "glasses"), ("glass", "a glass"), ("a cat", "a cat"),
    ],
)  # fmt: skip
def test_articles(words, whole):
    assert with_article(words) == whole


def test_every_pattern_has_words_and_every_style_of_the_collection_has():
    assert GROUNDS.keys() == PATTERNS.keys()
    assert {entry.style for entry in ALL.entries} <= STYLES.keys()

"""Captions of compositions, as people write prompts: whole sentences and lists of words, with
much said or little, with filler, in English and now and then in Chinese."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .collection import Entry
from .compositions import Composition
from .grounds import Ground
from .words import (
    CATEGORIES,
    CHINESE,
    CHINESE_GROUNDS,
    GROUNDS,
    NUMBERS,
    STYLES,
    SYNONYMS,
    ground_words,
    plural,
    with_article,
)

BEFORE = (
    "a picture of {}",
    "an image of {}",
    "an illustration of {}",
    "a drawing of {}",
    "a photo of {}",
    "an icon of {}",
    "draw {}",
    "there is {}",
)
AFTER = ("highly detailed", "masterpiece", "best quality", "high quality", "4k", "simple", "cute")
SIZED = {"small": ("small", "little", "tiny"), "large": ("large", "big", "close-up of")}


@dataclass(frozen=True)
class Said:
    """What a caption tells.

    spoken    in "english" or "chinese"
    usual     things by their usual names, and all parts of a face
    the others: whether it is named
    """

    spoken: str
    usual: bool
    style: bool
    ground: bool
    placed: bool
    filler: bool


EVERYTHING = Said("english", usual=True, style=True, ground=True, placed=True, filler=False)


def draw_said(rng: np.random.Generator) -> Said:
    """How often captions name what."""
    often = (0.1, 0.6, 0.65, 0.65, 0.9, 0.2)
    chinese, *others = (rng.random(len(often)) < often).tolist()
    return Said("chinese" if chinese else "english", *others)


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def name_of(entry: Entry, usual: bool, rng: np.random.Generator) -> str:
    """Its usual name, or any of its names; seldom, what kind of thing it is."""
    if entry.parts:
        return _face(entry, usual, rng)
    if usual:
        return entry.names[0]
    kinds = [tag for tag in entry.tags if tag in CATEGORIES]
    return _pick(rng, kinds if kinds and rng.random() < 0.15 else entry.names)


def _face(entry: Entry, every: bool, rng: np.random.Generator) -> str:
    """A face's name and some of its parts, or every one."""
    named = [part for part in entry.parts if every or rng.random() < 0.8]
    moods = [part[1:] for part in named if part.startswith("~")]
    having = [part for part in named if not part.startswith("~")]
    who = " ".join([*moods[:1], _pick(rng, entry.names)])
    if not having:
        return who
    *front, last = having
    listed = f"{', '.join(front)} and {last}" if front else last
    return f"{who} with {listed}"


def _noun(
    entry: Entry, scene: Composition, said: Said, adjective: str, rng: np.random.Generator
) -> str:
    """ "two small flat cats" """
    name = name_of(entry, said.usual or scene.count > 1, rng)
    size = _pick(rng, SIZED[scene.size]) if said.placed and scene.size else ""
    close = size.endswith(" of")
    words = " ".join(word for word in ("" if close else size, adjective, name) if word)
    if scene.count > 1:
        many = plural(words)
        number = _pick(rng, (NUMBERS[scene.count], str(scene.count))) if said.placed else ""
        return f"{number} {many}".strip()
    noun = with_article(words) if rng.random() < 0.75 else words
    return f"{size} {noun}" if close else noun


def _grounded(ground: Ground, rng: np.random.Generator) -> str:
    colours = [
        " ".join(_pick(rng, SYNONYMS.get(word, (word,))) for word in name.split())
        for name in ground.colours
    ]
    return ground_words(ground, _pick(rng, GROUNDS[ground.pattern]), colours)


def _relation(relation: str, rng: np.random.Generator) -> str:
    aside = relation.endswith(" of")
    return _pick(rng, (f"to the {relation}", relation) if aside else (relation,))


def _english(entries: list[Entry], scene: Composition, said: Said, rng: np.random.Generator) -> str:
    before, after, _ = STYLES[entries[0].style]
    in_front = said.style and len(entries) == 1 and rng.random() < 0.4
    adjective = _pick(rng, before) if in_front else ""
    text = _noun(entries[0], scene, said, adjective, rng)
    if len(entries) == 2:
        joint = (
            _relation(scene.relation or "", rng) if said.placed else _pick(rng, ("and", "next to"))
        )
        text = f"{text} {joint} {_noun(entries[1], scene, said, '', rng)}"
    if scene.place and said.placed:
        corner = " corner" if " " in scene.place else ""
        text += f" {'at' if scene.place in ('top', 'bottom') else 'in' if corner else 'on'} "
        text += f"the {scene.place}{corner}"
    if said.filler and rng.random() < 0.6:
        text = _pick(rng, BEFORE).format(text)
    extra = [_pick(rng, after)] if said.style and not in_front else []
    if said.ground:
        ground = _grounded(scene.ground, rng)
        if rng.random() < 0.6:
            text = f"{text} on {ground}"
        else:
            extra.append(ground.removeprefix("an ").removeprefix("a "))
    if said.filler and rng.random() < 0.6:
        extra.append(_pick(rng, AFTER))
    parts = [extra[i] for i in rng.permutation(len(extra))]
    if parts and rng.random() < 0.15:
        return ", ".join([*parts, text])
    return ", ".join([text, *parts])


def _chinese(entries: list[Entry], scene: Composition, said: Said, rng: np.random.Generator) -> str:
    names = [_pick(rng, entry.chinese) for entry in entries]
    aside = {"left of": "{0}在{1}的左边", "right of": "{0}在{1}的右边"}
    upright = {"above": "{0}在{1}的上面", "below": "{0}在{1}的下面"}
    count = {2: "两个", 3: "三个", 4: "四个"}.get(scene.count, _pick(rng, ("", "", "一个")))
    size = {"small": "小", "large": "大"}.get(scene.size, "") if said.placed else ""
    text = f"{count}{size}{names[0]}"
    if scene.relation is not None:
        pattern = (aside | upright)[scene.relation] if said.placed else "{0}和{1}"
        text = pattern.format(*names)
    if said.style:
        style = STYLES[entries[0].style][2]
        text = _pick(rng, (f"{style}风格的{text}", f"{text}，{style}风格"))
    if said.ground:
        colours = [CHINESE[name] for name in scene.ground.colours]
        ground = CHINESE_GROUNDS[scene.ground.pattern].format(*colours)
        text = _pick(rng, (f"{text}，{ground}", f"{ground}，{text}"))
    return text


def caption(entries: list[Entry], scene: Composition, said: Said, rng: np.random.Generator) -> str:
    """What the scene of these entries shows; in English where one has no Chinese name."""
    known = said.spoken == "chinese" and all(entry.chinese for entry in entries)
    return (_chinese if known else _english)(entries, scene, said, rng)

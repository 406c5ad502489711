"""What a model knows, by its words: things in groups, and the words for how they are drawn.

A model that was trained on captions of few words has it in a JSON file beside its own:
x.vocabulary.json beside x.safetensors, vocabulary.json in a folder.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ..runtime.files import replacing


@dataclass(frozen=True)
class Name:
    """english, chinese: what it is called, the usual name first. tags: what it has to do with."""

    english: tuple[str, ...]
    chinese: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.english[0]} {self.chinese[0]}" if self.chinese else self.english[0]

    def near(self, word: str) -> int:
        """How near it is to a word: 4, it is called so; 3, its usual name has the word; 2, another
        name has it, of Chinese also a part; 1, it has to do with it; 0, it has not."""
        if word in self.english or word in self.chinese:
            return 4
        if word in self.english[0].split():
            return 3
        if any(word in text.split() for text in self.english) or word in "|".join(self.chinese):
            return 2
        return int(any(word == text or word in text.split() for text in self.tags))


@dataclass(frozen=True)
class Known:
    """things: by group. words: of styles, colours, grounds, and so on, by what they tell."""

    things: Mapping[str, tuple[Name, ...]]
    words: Mapping[str, tuple[Name, ...]]

    def groups(self) -> dict[str, tuple[Name, ...]]:
        return {**self.things, **self.words}

    def all_things(self) -> list[Name]:
        return [name for names in self.things.values() for name in names]

    def nearest(self, word: str, count: int = 3) -> list[str]:
        """The usual names of what has to do with a word, or else is spelt nearly as it."""
        word = word.lower()
        everything = [name for names in self.groups().values() for name in names]
        related = sorted((n for n in everything if n.near(word)), key=lambda n: -n.near(word))
        if related:
            return list(dict.fromkeys(name.english[0] for name in related))[:count]
        spelt = {text: name.english[0] for name in everything for text in name.english}
        close = get_close_matches(word, spelt, count, cutoff=0.75)
        return list(dict.fromkeys(spelt[text] for text in close))

    def found(self, words: Iterable[str]) -> "Known":
        """The part of it that has to do with any of these words."""
        asked = [word.lower() for word in words]

        def part(groups: Mapping[str, tuple[Name, ...]]) -> dict[str, tuple[Name, ...]]:
            kept = {
                group: tuple(name for name in names if any(name.near(word) for word in asked))
                for group, names in groups.items()
            }
            return {group: names for group, names in kept.items() if names}

        return Known(part(self.things), part(self.words))


def beside(model: Path) -> Path:
    """Where what a model knows is told."""
    if model.is_dir():
        return model / "vocabulary.json"
    return model.with_suffix(".vocabulary.json")


def save_known(model: Path, known: Known) -> None:
    def rows(groups: Mapping[str, tuple[Name, ...]]) -> dict[str, list[dict[str, list[str]]]]:
        return {
            group: [{kind: list(texts) for kind, texts in vars(n).items() if texts} for n in names]
            for group, names in groups.items()
        }

    told = {"things": rows(known.things), "words": rows(known.words)}
    with replacing(beside(model)) as temporary:
        temporary.write_text(json.dumps(told, ensure_ascii=False), "utf-8")


def read_known(model: Path) -> Known | None:
    """What is told beside a model; None if nothing is. ValueError for another file."""
    path = beside(model)
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text("utf-8"))
        return Known(_groups(told["things"]), _groups(told["words"]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        what = "it is no JSON" if isinstance(error, json.JSONDecodeError) else "no lists of names"
        raise ValueError(f"{str(path)!r} is no vocabulary, remove it: {what}") from None


def _groups(told: Mapping[str, list[Mapping[str, list[str]]]]) -> dict[str, tuple[Name, ...]]:
    return {
        str(group): tuple(
            Name(
                _texts(row["english"], least=1),
                *(_texts(row.get(k, [])) for k in ("chinese", "tags")),
            )
            for row in rows
        )
        for group, rows in told.items()
    }


def _texts(values: list[str], least: int = 0) -> tuple[str, ...]:
    texts = isinstance(values, list) and all(isinstance(value, str) for value in values)
    if not texts or len(values) < least:
        raise ValueError(f"names are lists of texts, not {str(values)[:80]}")
    return tuple(values)

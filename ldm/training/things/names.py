"""What emoji are called, by emojibase-data: names, other names and tags, in English and Chinese."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .packages import read

LEFT_OUT = (  # subgroups of signs rather than things, or of very many that look alike
    "skin-tone hair-style family person-symbol transport-sign arrow religion zodiac av-symbol "
    "gender math punctuation currency other-symbol keycap alphanum geometric "
    "country-flag subdivision-flag"
).split()
SIGNS = re.compile(r"o.clock$|-thirty$|^no |^non-")  # 24 faces of a clock; what is forbidden
UNWANTED = {"middle finger", "hankey", "shit", "wtf", "facepunch", "iphone", "android", "hocho"}
SYNONYMS = {  # everyday words that emojibase-data has not, or only as tags
    "airplane": "plane",
    "motorcycle": "motorbike",
    "deciduous tree": "tree",
    "evergreen tree": "pine tree",
    "television": "tv",
    "hamburger": "burger",
    "doughnut": "donut",
    "eggplant": "aubergine",
    "fire engine": "fire truck",
    "lady beetle": "ladybug",
    "t rex": "dinosaur",
    "mobile phone": "smartphone",
    "wrapped gift": "present",
    "taxi": "cab",
    "metro": "subway",
    "old man": "grandfather",
    "old woman": "grandmother",
    "jeans": "trousers",
    "rabbit": "bunny",
    "baby chick": "chick",
    "flashlight": "torch",
    "laptop": "computer",
    "potted plant": "plant",
    "blossom": "flower",
    "wastebasket": "bin",
    "child": "kid",
    "cook": "chef",
    "health worker": "doctor",
    "mage": "wizard",
    "woman mage": "witch",
    "gem stone": "diamond",
}
TONED = ("baby", "boy", "girl", "man", "woman", "old man", "old woman")
TONES = {1: "light", 3: "medium", 5: "dark"}  # kept of five, of the people above alone
HALVES = ("man ", "woman ", "men ", "women ")  # people that are there without a sex, too


@dataclass(frozen=True)
class Name:
    """What one emoji is called. code: its code points, "1f419"; as in Entry, the others."""

    code: str
    group: str
    english: tuple[str, ...]
    tags: tuple[str, ...]
    chinese: tuple[str, ...]
    weight: float


def code_of(hexcode: str) -> str:
    """Code points in lower case, without the mark that asks for a picture in place of a letter."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def tidy(label: str) -> str | None:
    """A name as people write it, or None for one that is no name.

    >>> tidy("woman: red hair")
    'woman with red hair'
    """
    words = label.lower().replace("’", "'").replace("“", "").replace("”", "")
    words = words.removeprefix("flag: ").replace(".", "")
    who, colon, what = words.partition(": ")
    if colon:
        hair = {"bald": "a bald head", "beard": "a beard"}.get(what, what)
        words = f"{who} with {hair}"
    words = re.sub(r"\s*\(.*?\)", "", words).replace("-", " ").strip()
    fine = re.fullmatch(r"[a-z0-9ñéãçíüåô' ,&!]+", words)
    return words if fine and len(words) < 48 else None


def all_names(package: Path) -> list[Name]:
    """Those of all emoji that are things, people or animals, in emojibase's order."""
    groups = read(package / "meta" / "groups.json")
    kinds, parts = groups["groups"], groups["subgroups"]
    chinese = {row["hexcode"]: row for row in read(package / "zh" / "data.json")}
    british = {row["hexcode"]: row["label"] for row in read(package / "en-gb" / "data.json")}
    rows = [row for row in read(package / "en" / "data.json") if "group" in row]
    rows = [row for row in rows if parts[str(row["subgroup"])] not in LEFT_OUT]
    rows = [row for row in rows if not SIGNS.search(row["label"])]
    labels = {tidy(row["label"]) for row in rows}
    spoken = _short_names(package, labels)
    named = []
    for row in rows:
        usual = tidy(row["label"])
        if usual is None or usual in UNWANTED or usual.endswith("facing right"):
            continue
        code, group = row["hexcode"], kinds[str(row["group"])]
        others = [SYNONYMS.get(usual), tidy(british.get(code, "")), *spoken.get(code, [])]
        english = tuple(dict.fromkeys(name for name in (usual, *others) if name))
        tags = tuple(tag for tag in map(tidy, row.get("tags", ())) if tag and tag not in labels)
        word = _chinese(chinese.get(code))
        weight = 0.4 if usual.startswith(HALVES) else 1.0
        named.append(Name(code_of(code), group, english, tags, word, weight))
        named += _toned(row, usual, group, chinese)
    return named


def _short_names(package: Path, labels: set[str | None]) -> dict[str, list[str]]:
    """Names that chat programs know an emoji by: those that it alone has, and that are no label."""
    found: dict[str, list[str]] = {}
    for program in ("github", "emojibase"):
        for code, names in read(package / "en" / "shortcodes" / f"{program}.json").items():
            for name in [names] if isinstance(names, str) else names:
                words = name.replace("_", " ")
                if (
                    words not in UNWANTED
                    and re.fullmatch(r"[a-z]{3,}( [a-z]+){0,2}", words)
                    and words not in labels
                ):
                    found.setdefault(code, []).append(words)
    owners = Counter(word for words in found.values() for word in set(words))
    return {code: [word for word in words if owners[word] == 1] for code, words in found.items()}


def _chinese(row: dict[str, Any] | None) -> tuple[str, ...]:
    label = "" if row is None else str(row["label"]).replace("“", "").replace("”", "")
    who, colon, what = label.partition(": ")
    if colon:
        label = f"{what}的{who}"
    return (label,) if re.fullmatch(r"[\u4e00-\u9fff]{1,10}", label) else ()


def _toned(
    row: dict[str, Any], usual: str, group: str, chinese: dict[str, dict[str, Any]]
) -> Iterator[Name]:
    """A few people with some colours of skin."""
    if usual not in TONED:
        return
    for skin in row.get("skins", ()):
        if skin.get("tone") in TONES:
            english = (f"{usual} with {TONES[skin['tone']]} skin",)
            yield Name(code_of(skin["hexcode"]), group, english, (), (), 0.5)

"""Faces that DiceBear composes of drawn parts, and the words for their parts.

DiceBear is a program for Node.js: it is told a style and a count, and answers with drawings and the
names of their parts. Some parts' names say what they are ("mohawk"), others are numbers.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STYLES = {
    "open-peeps": "doodle",
    "notionists": "sketch",
    "lorelei": "line art",
    "pixel-art": "pixel art",
}
PROGRAM = """
import { createAvatar } from '@dicebear/core';
const [style, count, options] = process.argv.slice(-3);
const drawn = await import('@dicebear/' + style);
for (let seed = 0; seed < count; seed++) {
  const avatar = createAvatar(drawn, { seed: String(seed), size: 256, ...JSON.parse(options) });
  console.log(JSON.stringify(avatar.toJson()));
}
"""
OFTEN = {  # percent of the faces that have such a part
    "open-peeps": {"accessoriesProbability": 40, "facialHairProbability": 25, "maskProbability": 3},
    "notionists": {"glassesProbability": 40, "beardProbability": 25, "gestureProbability": 0},
    "lorelei": {"glassesProbability": 35, "beardProbability": 20, "earringsProbability": 20},
    "pixel-art": {"glassesProbability": 35, "beardProbability": 15, "hatProbability": 15},
}

HEADS = {  # of open-peeps
    "afro": "an afro",
    "longAfro": "a long afro",
    "bangs": "bangs",
    "longBangs": "long hair and bangs",
    "mediumBangs": "bangs",
    "bantuKnots": "bantu knots",
    "bear": "a bear hat",
    "bun": "a bun",
    "buns": "two buns",
    "cornrows": "cornrows",
    "dreads": "dreadlocks",
    "flatTop": "a flat top",
    "flatTopLong": "a flat top",
    "grayBun": "a gray bun",
    "grayMedium": "gray hair",
    "grayShort": "short gray hair",
    "hatBeanie": "a beanie",
    "hatHip": "a hat",
    "hijab": "a hijab",
    "long": "long hair",
    "longCurly": "long curly hair",
    "mediumStraight": "straight hair",
    "mohawk": "a mohawk",
    "noHair": "a bald head",
    "pomp": "a pompadour",
    "shaved": "shaved hair",
    "short": "short hair",
    "turban": "a turban",
    "twists": "twists",
}
MOODS = {  # the face of open-peeps; "~" marks an adjective
    "angryWithFang": "~angry",
    "veryAngry": "~angry",
    "rage": "~furious",
    "awe": "~amazed",
    "calm": "~calm",
    "concerned": "~worried",
    "concernedFear": "~frightened",
    "fear": "~frightened",
    "cyclops": "~one-eyed",
    "monster": "~monstrous",
    "old": "~old",
    "serious": "~serious",
    "smile": "~smiling",
    "smileBig": "~smiling",
    "smileLOL": "~laughing",
    "smileTeethGap": "~smiling",
    "lovingGrin": "~grinning",
    "tired": "~tired",
    "suspicious": "~suspicious",
}
WORN = {
    "glasses": "glasses",
    "sunglasses": "sunglasses",
    "eyepatch": "an eyepatch",
    "medicalMask": "a face mask",
    "respirator": "a respirator",
    "chin": "a chin beard",
    "full": "a beard",
    "goatee": "a goatee",
    "moustache": "a moustache",
}
HAIR = {  # colours of pixel-art's hair
    "cab188": "blond",
    "603a14": "brown",
    "83623b": "brown",
    "a78961": "light brown",
    "611c17": "auburn",
    "603015": "brown",
    "612616": "auburn",
    "28150a": "black",
    "009bbd": "blue",
    "bd1700": "red",
    "91cb15": "green",
}
CLOTHES = {"5bc0de": "light blue", "428bca": "blue", "03396c": "dark blue", "88d8b0": "light green"}
CLOTHES |= {"44c585": "green", "00b159": "green", "ff6f69": "pink", "d11141": "red"}
CLOTHES |= {"ae0001": "red", "ffeead": "beige", "ffd969": "yellow", "ffc425": "yellow"}


def drawings(modules: Path, style: str, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """`count` faces of a key of STYLES: a drawing and its parts. ValueError if Node.js fails."""
    command = ["node", "--input-type=module", "-e", PROGRAM, "--", style, str(count)]
    done = subprocess.run(
        [*command, json.dumps(OFTEN[style])], cwd=modules.parent, capture_output=True, text=True
    )
    if done.returncode:
        what = " ".join(done.stderr.split())[:200]
        raise ValueError(f"Node.js could not draw the faces of {style}: {what}")
    for line in done.stdout.splitlines():
        face = json.loads(line)
        yield face["svg"], parts_of(style, face["extra"])


def parts_of(style: str, extra: dict[str, Any]) -> tuple[str, ...]:
    """The words for a face's parts, of those that have any; each once."""
    found: list[str | None] = []
    said = {name: re.sub(r"\d+$", "", str(value)) for name, value in extra.items() if value}
    if style == "open-peeps":
        found += [MOODS.get(said.get("face", "")), HEADS.get(said.get("head", ""))]
        found += [WORN.get(said.get(name, "")) for name in ("accessories", "facialHair", "mask")]
        return tuple(dict.fromkeys(word for word in found if word))
    if style == "notionists":
        found += ["a hat" if said.get("hair") == "hat" else None]
    if "mouth" in said:
        found += [{"happy": "~happy", "sad": "~sad"}.get(said["mouth"])]
    if style == "pixel-art":
        colour = HAIR.get(said.get("hairColor", "").lstrip("#"), "")
        length = said.get("hair", "")
        shirt = CLOTHES.get(said.get("clothingColor", "").lstrip("#"))
        hair = " ".join(word for word in (length, colour, "hair") if word)
        found += [hair if "hat" not in said else "a hat"]
        found += [f"a {shirt} shirt" if shirt else None]
        found += [{"light": "glasses", "dark": "sunglasses"}.get(said.get("glasses", ""))]
    elif "glasses" in said:
        found += ["glasses"]
    worn = {"beard": "a beard", "earrings": "earrings", "freckles": "freckles"}
    found += [words for name, words in worn.items() if name in said]
    found += ["flowers in the hair" if "hairAccessories" in said else None]
    return tuple(dict.fromkeys(word for word in found if word))

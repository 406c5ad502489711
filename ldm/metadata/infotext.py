"""The text of AUTOMATIC1111's web UI, which its descendants, stable-diffusion.cpp and Civitai write
too:

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x512,
    Version: v1.9.3

(The settings are one line.) Reading takes time in proportion to the text's length, whatever it is.
"""

import json
import re
from collections.abc import Iterator

from .writing import NEGATIVE

NO_NAME = re.compile(r"[^\w /-]")  # what cannot stand in the name of a setting
QUOTED = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"(?=\s*(?:,|$))')
USED = "Used embeddings:"  # in a line of its own


def split(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt, and the settings by name.

    >>> split('a cat\\nNegative prompt: a dog\\nSteps: 5, Sampler: Euler, Hires prompt: "a, b"')
    ('a cat', 'a dog', {'Steps': '5', 'Sampler': 'Euler', 'Hires prompt': 'a, b'})
    >>> split('a cat. Negative prompt: a dog Steps: 5, Sampler: Euler, Seed: 3')[:2]
    ('a cat.', 'a dog')
    """
    lines = [line.strip() for line in text.strip().split("\n")]
    end = settings_line(lines)
    head, line = "\n".join(["", *lines[:end]]), "".join(lines[end : end + 1])
    mark = f"\n{NEGATIVE}"
    if end == len(lines):  # no line of settings: they may stand at the end of another, after all
        start = head.rfind(" Steps: ")
        if start >= 0 and len(list(pairs(head[start:]))) >= 3:
            head, line = head[:start], head[start:]
            mark = mark if mark in head else f" {NEGATIVE}"
    prompt, _, negative = head.partition(mark)
    values = {name: unquoted(value) for name, value in pairs(line)}
    used = [rest.removeprefix(USED) for rest in lines[end + 1 :] if rest.startswith(USED)]
    return prompt.strip(), negative.strip(), values | ({USED: used[0]} if used else {})


def settings_line(lines: list[str]) -> int:
    """Which line holds the settings: the last that begins with Steps, else the last of all if it
    has three pairs and no prompt.

    Extensions append lines of their own. Without settings: the number of lines.
    """
    starts = [i for i, line in enumerate(lines) if line.startswith("Steps: ")]
    if starts:
        return starts[-1]
    inline = " Steps: " in lines[-1]
    return len(lines) - (not inline and len(list(pairs(lines[-1]))) >= 3)


def pairs(line: str) -> Iterator[tuple[str, str]]:
    """The settings of a line, by name; a value in quotes or brackets may have commas.

    >>> list(pairs('Size: 8x8, Hashes: {"vae": "a", "model": "b"}, Model: "x, y"'))
    [('Size', '8x8'), ('Hashes', '{"vae": "a", "model": "b"}'), ('Model', '"x, y"')]
    """
    at, brackets = 0, True
    while (colon := line.find(":", at)) >= 0:
        name = NO_NAME.split(line[at:colon])[-1].strip(" /-")
        at = start = colon + 1
        if len(name) < 2:
            continue
        while line[start : start + 1] == " ":
            start += 1
        if match := QUOTED.match(line, start):
            at = match.end()
        elif brackets and line[start : start + 1] in ("{", "["):
            try:
                _, at = json.JSONDecoder().raw_decode(line, start)
            except (ValueError, RecursionError):
                brackets = False  # tried once: looking for the end each time could take for ever
        comma = line.find(",", at)
        at = len(line) if comma < 0 else comma
        yield name, line[start:at].strip()


def unquoted(value: str) -> str:
    """The value without the JSON quotes that protect its commas and colons."""
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value

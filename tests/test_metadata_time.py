"""Whatever stands in a file, it is read or refused soon, and in a line."""

import json
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ldm.metadata.reading import READERS

DATA = Path(__file__).parent / "data/metadata"


def chain(count, node):
    return "{" + ",".join(f'"{i}":{node(i)}' for i in range(count)) + "}"


def reroutes(count):
    nodes = [{"id": i, "type": "Reroute", "inputs": [{"link": i - 1}]} for i in range(1, count)]
    entries = [{"name": str(i), "link": count - 1} for i in range(count)]
    nodes.append({"id": 0, "type": "KSampler", "inputs": entries})
    return json.dumps({"nodes": nodes, "links": [[i, i, 0] for i in range(count)]})


WORST = {
    "letters": ("parameters", "a" * 10**5),
    "words": ("parameters", "a " * 50000),
    "names": ("parameters", "a" * 10**5 + ": b, cc: d, ee: f"),
    "pairs": ("parameters", "aa: 1, " * 14000),
    "names of their own": ("parameters", "".join(f"a{i}: 1, " for i in range(10000))),
    "colons": ("parameters", "Steps: 1, " + "aa:" * 33000),
    "quotes": ("parameters", "Steps: 1, " + 'aa: "b\\' * 16000),
    "brackets": ("parameters", "Steps: 1, " + "aa: [" * 20000),
    "lists": ("parameters", "Steps: 1, aa: " + "[" * 10**5),
    "lists that do not end": ("parameters", "Steps: 1, " + "aa: [1,1,1,1,1," * 7000),
    "blanks": ("parameters", "Steps: 1, aa:" + " " * 10**5),
    "lines": ("parameters", "\n" * 10**5),
    "negatives": ("parameters", "\nNegative prompt:" * 6000),
    "steps": ("parameters", "\nSteps: 1" * 11000),
    "steps in a line": ("parameters", "x Steps: 1, " * 8000),
    "a version": ("parameters", "Steps: 1, Version: v" + "1" * 10**5),
    "a number": ("parameters", "Steps: " + "1" * 10**5 + ", Seed: 1, CFG scale: 1"),
    "objects": ("parameters", '{"a":' * 20000),
    "a comment": ("UserComment", '{"a":' * 20000),
    "a request": ("ldm", "[" * 10**5),
    "a deep graph": ("prompt", '{"a":' * 20000),
    "samplers": (
        "prompt",
        chain(1500, lambda i: f'{{"inputs":{{"positive":0,"latent_image":["{i + 1}",0]}}}}'),
    ),
    "samplers in a ring": (
        "prompt",
        chain(
            1500, lambda i: f'{{"inputs":{{"positive":0,"latent_image":["{(i + 1) % 1500}",0]}}}}'
        ),
    ),
    "links": (
        "prompt",
        chain(10, lambda i: json.dumps({"inputs": {str(j): ["1", 0] for j in range(900)}})),
    ),
    "a deep drawing": ("workflow", "[" * 10**5),
    "reroutes": ("workflow", reroutes(1000)),
}


@pytest.mark.parametrize("name", WORST)
def test_whatever_is_in_a_text_it_is_read_or_refused_soon(name):
    key, text = WORST[name]
    start = time.process_time()
    with suppress(ValueError):
        READERS[key]({key: text})
    assert time.process_time() - start < 2


ODD = [
    None,
    True,
    -1,
    10**400,
    1e999,
    "",
    "\ud800",
    "\x1b[2J",
    [],
    ["3", 0],
    [["3"], 0],
    {},
    {"a": []},
]
PARTS = ["", "-1", '"', "{", ": ", ", ", "\x1b", "x"]


def places(value):
    """Every list and object in a JSON value with each of its keys."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.name)
def test_any_value_in_any_place_of_a_graph_is_read_or_refused(path):
    text = path.read_text(encoding="utf-8")
    key = "workflow" if "workflow" in path.name else "prompt"
    for i in range(len(list(places(json.loads(text))))):
        values = json.loads(text)
        holder, name = list(places(values))[i]
        holder[name] = random.Random(i).choice(ODD)
        with suppress(ValueError):
            told = READERS[key]({key: json.dumps(values)}).unsupported
            assert all(f"{key}{value}".isprintable() for key, value in told.items())


@pytest.mark.parametrize("path", sorted(DATA.glob("*.txt")), ids=lambda path: path.name)
def test_any_damage_to_an_infotext_is_read_or_refused(path):
    text, dice = path.read_text(encoding="utf-8"), random.Random(0)
    for _ in range(100):
        start, end = sorted(dice.choices(range(len(text)), k=2))
        damaged = text[:start] + dice.choice(PARTS) + text[end:]
        told = READERS["parameters"]({"parameters": damaged}).unsupported
        assert all(f"{key}{value}".isprintable() for key, value in told.items())

"""What strangers' pictures, prompts and word lists may hold, by the hundred: each ends in a right
result or in one short printable line.

LDM_FUZZ=20 in the environment tries twenty times as many.
"""

import io
import json
import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from helpers import TIMES
from ldm.cli.show import said
from ldm.images.exif import to_exif
from ldm.metadata import read_metadata
from ldm.prompts import comfyui
from ldm.prompts.a1111 import extract_loras, parse_attention
from ldm.prompts.editing import prompt_schedule
from ldm.prompts.schedule import PromptSchedule
from ldm.prompts.wildcards import expanded
from ldm.request import Request

DATA = Path(__file__).parent / "data/metadata"
DEEP = 20_000
ODD = [
    "", "\0", "\x1b[2J", "\u202e", "\ud800", "\ufeff", "\x85\u2028\x0b", "x" * 3000, "9" * 400,
    "-1", "1e999", "nan", "[" * DEEP, "{" * DEEP, "(" * DEEP, '{"a":' * 5000, "]" * 99, '"', "\\",
    ", ", ": ", "\n", "Steps: ", "\nNegative prompt: ", "__a__", "{a|", "|b}", "[a:b:", ":0.5]",
    " AND ", " BREAK ", "<lora:", ":1.5)", "目", "null", "true", "1.5", '["3", 0]',
]  # fmt: skip


def damaged(draw, text):
    """The text with a few pieces put in, taken out, doubled or changed."""
    for _ in range(draw.choice([1, 1, 2, 5])):
        start, end = sorted(draw.choices(range(len(text) + 1), k=2))
        kind = draw.randrange(4)
        if kind == 0:
            text = text[:start] + draw.choice(ODD) + text[start:]
        elif kind == 1:
            text = text[:start] + text[min(end, start + 30) :]
        elif kind == 2:
            text = text[:start]
        else:
            text = text[:start] + draw.choice(ODD) + text[start + 1 :]
    return text


@pytest.fixture
def ends(door):
    """ends(function, *given) -> what it gives, or None where it refuses in a line."""
    door.SECONDS = 5
    return door.ends


def shown(path):
    """What `ldm show` says of a picture; each of its messages is a line."""
    metadata = read_metadata(path)
    for name, why in metadata.unsupported.items():
        line = f"{name}, {why}"
        assert line.isprintable(), line[:1000]
        assert len(line) <= 500, line[:1000]
    assert said(path, metadata)
    assert Request.from_json(metadata.request.to_json()) == metadata.request
    return metadata


SOURCES = sorted(path for path in DATA.iterdir() if path.name != "empty.texts")


def texts(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".texts":
        return json.loads(text)
    key = "workflow" if "workflow" in path.name else "prompt"
    return {"parameters" if path.suffix == ".txt" else key: text}


def saved(path, named):
    image = Image.new("L", (8, 8))
    if path.suffix != ".png":
        few = list(named.items())[:3]  # beyond these are the tags of numbers
        image.save(path, exif=to_exif({key: value[:9000] for key, value in few}))
        return
    info = PngInfo()
    for key, value in named.items():
        value = value.encode("utf-8", "replace").decode()
        info.add_text(key, value) if len(value) % 2 else info.add_itxt(key, value)
    image.save(path, pnginfo=info)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_texts(ends, door, suffix):
    """The pictures are whole, what they say is not."""
    path, seen = Path(f"a.{suffix}"), 0
    for seed in range(15 * TIMES):
        draw = random.Random(f"{suffix}{seed}")
        named = texts(draw.choice(SOURCES))
        key = draw.choice(list(named))
        named[key] = damaged(draw, named[key])
        if suffix != "png":
            named = {name: text.encode("utf-8", "replace").decode() for name, text in named.items()}
        saved(path, named)
        ends(shown, path)
        seen += 1
    assert door.read > 0
    assert seen == door.read + door.refused == 15 * TIMES


def chunks(data):
    """The chunks of a PNG file: name and content."""
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def png(parts):
    packed = (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def mangled(draw, data, suffix):
    """The bytes of a file, damaged; chunks of a PNG also as wholes, with sums that are right."""
    kind = draw.randrange(4 if suffix == "png" else 2)
    if kind == 0:
        return data[: draw.randrange(len(data))]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(draw.choice([1, 2, 8])):
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(changed)
    parts = list(chunks(data))
    i, j = draw.choices(range(len(parts)), k=2)
    if kind == 2:
        parts[i], parts[j] = parts[j], parts[i]
        return png(parts)
    name, content = parts[i]
    noise = draw.randbytes(draw.randrange(40))
    place = draw.randrange(len(content) + 1)
    name = draw.choice([name, b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP"])
    parts[i] = name, content[:place] + noise + content[place:]
    return png(parts)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_files(ends, door, suffix):
    """Bits turned, ends cut off, chunks put in each other's place or filled with noise."""
    path = Path(f"a.{suffix}")
    for seed in range(15 * TIMES):
        draw = random.Random(f"{suffix}{seed}")
        saved(path, texts(draw.choice(SOURCES)))
        path.write_bytes(mangled(draw, path.read_bytes(), suffix))
        ends(shown, path)
    assert door.read + door.refused == 15 * TIMES
    assert door.refused > 0


PROMPT = (
    r"a (cat:1.3) [dog:(fox):0.5] \(x\) {red|blue [big|small]} AND [a|b] :0.5 BREAK <lora:a:0.8>"
)


def read_prompt(text, steps):
    """Every reader of prompts, on one."""
    schedule = prompt_schedule(text, steps)
    assert schedule[-1][0] == steps
    assert PromptSchedule([text], [""], steps).at(steps).negatives
    for _, part in schedule[:3]:
        assert parse_attention(part)
        comfyui.parse_attention(part)
    assert extract_loras(text)[0] is not None
    return expanded(Request(text, seed=steps))


def test_damaged_prompts(ends, door):
    for seed in range(40 * TIMES):
        draw = random.Random(seed)
        text = damaged(draw, draw.choice([PROMPT, *ODD]))
        ends(read_prompt, text, draw.randrange(1, 30))
    assert door.read + door.refused == 40 * TIMES
    assert door.read > 0


LIST = "# animals\ncat\n{wild|tame} dog\n__b__ and __a/c__\n目\n"


def read_lists(prompt, seed, folder):
    return expanded(Request(prompt, seed=seed, wildcards=folder))


def test_damaged_word_lists(ends, door):
    for seed in range(20 * TIMES):
        draw, folder = random.Random(seed), Path(f"lists{seed}")
        (folder / "a").mkdir(parents=True)
        for name in ("a.txt", "b.txt", "a/c.txt"):
            text = damaged(draw, LIST).encode("utf-8", "surrogatepass")
            if draw.random() < 0.2:
                text = draw.choice([text.decode("utf-8", "replace").encode("utf-16"), text[:-4]])
            (folder / name).write_bytes(text)
        if draw.random() < 0.1:
            folder = folder / draw.choice(["nobody", "a.txt", "x\x1b[2J"])
        prompt = damaged(draw, "__a__ {and|or} __b__, __a/c__ __nobody__")
        ends(read_lists, prompt, seed, str(folder))
    assert door.read + door.refused == 20 * TIMES
    assert min(door.read, door.refused) > 0


def test_the_damage_is_the_same_each_time():
    assert damaged(random.Random(3), PROMPT) == damaged(random.Random(3), PROMPT)
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    assert png(chunks(stream.getvalue())) == stream.getvalue()

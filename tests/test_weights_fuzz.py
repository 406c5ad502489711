"""Files and folders of strangers, by the hundred: each ends in one printable line or in a right
result, soon, and in little memory; and nothing of them runs.

LDM_FUZZ=20 in the environment tries twenty times as many.
"""

import io
import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch

from helpers import TIMES
from ldm.models.weights import inspect, read
from ldm.models.weights.opening import open_checkpoint
from ldm.models.weights.saving import renamed

NAMES = ["a", "\x1b[2J", "\ud800", "x" * 3000, "a\nb", "目", ""]


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def odd_object(draw, depth=0):
    choices = [
        lambda: draw.choice(NAMES),
        lambda: draw.choice([0, -1, 2**70, 1.5, None, True, b"\0" * 9]),
        lambda: torch.zeros(draw.choice([(), (0,), (2, 3)])),
        lambda: draw.choice([Path("x"), torch.float16, torch.Size([1]), range(3), {1, 2}]),
        lambda: Runs(),
    ]
    if depth < 4:
        choices += 2 * [
            lambda: {draw.choice(NAMES): odd_object(draw, depth + 1) for _ in range(3)},
            lambda: [odd_object(draw, depth + 1) for _ in range(2)],
            lambda: (odd_object(draw, depth + 1),),
        ]
    return draw.choice(choices)()


OPCODES = b"0123NKMJGI}])l(t\x85\x86\x87RcobQqrhjus\x81\x93\x94\x92ei\x88\x89.\x8c\x8d\x8f\x90"


def odd_program(draw):
    """Instructions at random, some with what they expect behind them."""
    pieces = [
        b"cos\nsystem\n", b"S'touch ran'\n", b"(S'touch ran'\ntR", b"K\x01", b"X\x01\0\0\0a",
        b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"p99999999999\n",
        b"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ", b"\x80\x02", b"}", b"(", b"u",
        b"I0\n(I2\nt(I1\nt", b"ccollections\nOrderedDict\n)R", b"\x8a\xff", b"\x8b\xff\xff\xff\x7f",
    ]  # fmt: skip
    return b"".join(
        draw.choice([draw.choice(pieces), bytes([draw.choice(OPCODES)])])
        for _ in range(draw.randrange(1, 40))
    ) + b"." * draw.randrange(2)


@pytest.mark.parametrize("legacy", [False, True])
def test_hostile_pickles(ends, legacy):
    for seed in range(60 * TIMES):
        draw, path = random.Random(seed), Path("a.ckpt")
        if draw.random() < 0.5:
            content = {"a": torch.zeros(2), draw.choice(NAMES): odd_object(draw)}
            try:
                torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            except UnicodeEncodeError:
                continue
        elif legacy:
            stream = io.BytesIO()
            torch.save({"a": torch.zeros(4)}, stream, _use_new_zipfile_serialization=False)
            data = stream.getvalue()
            place = data.rindex(b"}")
            path.write_bytes(data[:place] + odd_program(draw) + data[place:])
        else:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("a/data.pkl", odd_program(draw))
                file.writestr("a/data/0", bytes(16))
        ends(path, open_checkpoint)
    Path("a").write_bytes(pickle.dumps(Runs()))
    ends(Path("a"))


def test_hostile_containers(ends, tiny_compvis, tiny_family):
    """A directory or a local header changed: what is read has the bytes of its name."""
    torch.save(tiny_compvis, "good.ckpt")
    good = Path("good.ckpt").read_bytes()
    heads = [i for i in range(len(good)) if good.startswith((b"PK\x01\x02", b"PK\x03\x04"), i)]
    theirs = torch.load("good.ckpt")
    for seed in range(60 * TIMES):
        draw, data = random.Random(seed), bytearray(good)
        for _ in range(draw.choice([1, 1, 2])):
            start = draw.choice([*heads, len(data) - 30])
            place = min(start + draw.randrange(46), len(data) - 1)
            data[place] = draw.choice([data[place] ^ 1 << draw.randrange(8), 0, 255])
        Path("a.ckpt").write_bytes(data)
        found = ends(Path("a.ckpt"), family=tiny_family)
        if found is not None:
            ours = renamed(found, "compvis")
            assert all(torch.equal(ours[name], theirs[name]) for name in ours), seed


ODD_ENTRIES = [
    None, [], {}, 0, "", "x" * 70_000, {"dtype": "F32"}, -1, 10**30,
    {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
    {"dtype": "\x1b[2J", "shape": [1], "data_offsets": [0, 4]},
    {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]},
    {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]},
    {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
    {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
    {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
]  # fmt: skip


def test_hostile_headers(ends, tiny_file):
    good = tiny_file.read_bytes()
    size = int.from_bytes(good[:8], "little")
    for seed in range(60 * TIMES):
        draw, header = random.Random(seed), json.loads(good[8 : 8 + size])
        name = draw.choice(list(header))
        change = draw.randrange(4)
        if change == 0:
            header[name] = draw.choice(ODD_ENTRIES)
        elif change == 1:
            header[draw.choice(NAMES)] = header.pop(name)
        elif change == 2:
            header[draw.choice(NAMES) + "!"] = draw.choice(ODD_ENTRIES)
        else:
            key = draw.choice(list(header["__metadata__"]))
            header["__metadata__"][key] = draw.choice([None, 3, *NAMES, "[" * 9999, "{}", "[1]"])
        text = json.dumps(header).encode()
        Path("a").write_bytes(len(text).to_bytes(8, "little") + text + good[8 + size :])
        ends(Path("a"), draw.choice([read, inspect]))
        ends(Path("a"), inspect, verified=True)


@pytest.mark.parametrize(
    "unit", [b"[],", b"{},", b'"ab",', b"1,", b'[{"a":[]}],'], ids=lambda unit: unit.decode()
)
def test_large_headers_end_soon(ends, unit):
    text = b'{"a":[' + unit * (15_000_000 // len(unit)) + b"0]}"
    Path("a").write_bytes(len(text).to_bytes(8, "little") + text)
    ends(Path("a"))


@pytest.mark.parametrize(
    "unit", [b"}", b"X\x01\0\0\0aq\x01", b"(t", b"ca\nb\n", b"N0", b"K\x01\x85"]
)
def test_large_pickles_end_soon(ends, unit):
    with zipfile.ZipFile("a", "w") as file:
        file.writestr("a/data.pkl", unit * (15_000_000 // len(unit)) + b".")
    ends(Path("a"))
    with zipfile.ZipFile("a", "w") as file:  # positions of the memo whose hashes are all the same
        puts = b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(100_000))
        file.writestr("a/data.pkl", b"N" + puts + b".")
    ends(Path("a"))


def test_many_empty_tensors_end_soon(ends):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    for count in (49_000, 200_000):
        text = json.dumps({str(i): entry for i in range(count)}).encode()
        Path("a").write_bytes(len(text).to_bytes(8, "little") + text)
        ends(Path("a"), inspect)

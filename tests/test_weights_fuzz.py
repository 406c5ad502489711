"""Files and folders of strangers, by the hundred: each ends in one printable line or in a right
result, soon, and in little memory; and nothing of them runs.

LDM_FUZZ=20 in the environment tries twenty times as many.
"""

import io
import json
import os
import pickle
import random
import resource
import shutil
import time
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.models.families import family_named
from ldm.models.weights import CheckpointError, inspect, read, save
from ldm.models.weights.saving import renamed

TIMES = int(os.environ.get("LDM_FUZZ", "1"))
SECONDS, MEGABYTES = 10, 500


@pytest.fixture
def ends(tmp_path, monkeypatch):
    """ends(path) -> what reading it gives, or None; that nothing ran is checked at the end."""
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {"read": 0, "refused": 0}

    def run(path, function=read, **options):
        start = time.process_time()
        found, expected = None, CheckpointError if function is not family_named else ValueError
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                found = function(path, **options)
            lines = [str(warning.message) for warning in told]
            counts["read"] += 1
        except expected as error:
            lines = [str(error)]
            counts["refused"] += 1
        for line in lines:
            assert line.isprintable(), line
            assert len(line) <= 500
        assert time.process_time() - start < SECONDS
        return found

    yield run
    assert not Path("ran").exists()
    assert counts["refused"] > 0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES
    print(counts)


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
        ends(path)
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


ODD_VALUES = [
    None, True, 0, -1, 1, 3, 7, 64, 10**6, 10**18, 10**400, 0.0, -0.5, 1e-300, 1e300, float("nan"),
    float("inf"), "", "a", "\ud800", "\x1b[2J", "x" * 9999, [], [1], [None], [0, 0], [10**9] * 3,
    {}, {"a": 1}, [[]], "silu", [2, 2],
]  # fmt: skip


def places(values, path=()):
    """Of every single value in nested dictionaries and lists."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def put(values, path, value):
    for key in path[:-1]:
        values = values[key]
    values[path[-1]] = value


def draws(found):
    """A right result can be used."""
    with torch.no_grad():
        ids = torch.zeros(1, found.family.text[0].length, dtype=torch.int64)
        context = found.text[0](ids).last
        latent = torch.zeros(1, found.family.vae.latent_channels, 8, 8)
        eps = found.unet(latent, torch.zeros(1), context)
        assert found.vae.decode(eps).shape[-1] == 8 * found.family.vae.factor
        found.family.noise_schedule()


def test_odd_values_in_family_headers(ends, tiny_checkpoint, tmp_path):
    tensors = {name: x.contiguous() for name, x in renamed(tiny_checkpoint, "ldm").items()}
    good = json.dumps(tiny_checkpoint.family.to_dict())
    everywhere = list(places(json.loads(good)))
    merges = "\n".join(map(" ".join, tiny_checkpoint.merges))
    for seed in range(100 * TIMES):
        draw, values = random.Random(seed), json.loads(good)
        put(values, draw.choice(everywhere), draw.choice(ODD_VALUES))
        text = json.dumps(values)
        save_file(tensors, "a.safetensors", {"family": text, "merges": merges})
        found = ends(Path("a.safetensors"))
        report = ends(Path("a.safetensors"), inspect)
        assert (found is not None) == (report is not None and report.loadable), text
        if found is not None:
            draws(found)
        Path("family.json").write_text(text)
        ends(Path("family.json"), family_named)


def test_odd_values_in_configs(ends, tiny_checkpoint):
    save("good", tiny_checkpoint, "diffusers")
    files = sorted(Path("good").rglob("*.json"))
    files = [path.relative_to("good") for path in files if path.name != "vocab.json"]
    shutil.copytree("good", "a")
    for seed in range(100 * TIMES):
        draw = random.Random(seed)
        name = draw.choice(files)
        values = json.loads(("good" / name).read_text())
        if everywhere := list(places(values)):
            put(values, draw.choice(everywhere), draw.choice(ODD_VALUES))
        ("a" / name).write_text(draw.choice([json.dumps(values)] * 9 + ["[" * 99999, "null", ""]))
        found = ends(Path("a"))
        report = ends(Path("a"), inspect)
        assert (found is not None) == (report is not None and report.loadable), values
        if found is not None:
            draws(found)
        shutil.copy("good" / name, "a" / name)


def test_every_flipped_bit_of_our_own_files_is_seen(tiny_checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    save(path, tiny_checkpoint)
    assert inspect(path, verified=True).loadable
    good = path.read_bytes()
    start = 8 + int.from_bytes(good[:8], "little")
    for seed in range(20 * TIMES):
        data = bytearray(good)
        data[random.Random(seed).randrange(start, len(data))] ^= 1 << seed % 8
        path.write_bytes(data)
        report = inspect(path, verified=True)
        assert not report.loadable
        assert len(report.verified.damaged) == 1
    old = load_file(path)
    metadata = {key: text for key, text in report.opened.metadata.items() if key != "crc32"}
    save_file(old, path, metadata)
    assert "it has no checksums" in str(inspect(path, verified=True))
    read(path)

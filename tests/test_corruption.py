"""Damaged files: each ends in a clear error, or in just what the format's own library reads from
it."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import TIMES
from ldm.models.weights import CheckpointError, read, save
from ldm.models.weights.saving import renamed

CASES = {"safetensors": 100, "torch": 100, "legacy": 50}
MEGABYTES = 200  # that all of them together may take


def flip(data: bytearray, draw: random.Random, end: int | None = None) -> None:
    """A few bits, in the file or in its first `end` bytes."""
    for _ in range(draw.choice([1, 1, 2, 8])):
        data[draw.randrange(len(data) if end is None else end)] ^= 1 << draw.randrange(8)


def flip_start(data: bytearray, draw: random.Random) -> None:
    flip(data, draw, 4000)


def flip_first_bytes(data: bytearray, draw: random.Random) -> None:
    """In the length of the header."""
    flip(data, draw, 10)


def flip_end(data: bytearray, draw: random.Random) -> None:
    """In an archive's table of contents."""
    data[-1 - draw.randrange(min(len(data), 20_000))] ^= 1 << draw.randrange(8)


def truncate(data: bytearray, draw: random.Random) -> None:
    del data[
        draw.choice(
            [draw.randrange(len(data)), draw.randrange(40), len(data) - 1 - draw.randrange(100)]
        ) :
    ]


def new_length(data: bytearray, draw: random.Random) -> None:
    length = draw.choice(
        [0, 1, 2, 2**63, 2**64 - 1, 99_999_999, draw.randrange(2**20), draw.randrange(2**64)]
    )
    data[:8] = length.to_bytes(8, "little")


def not_a_number(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data) // 2, len(data) - 30_000) // 4 * 4
    data[place : place + 4] = b"\x00\x00\xc0\x7f"


def insert(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data))
    data[place:place] = draw.randbytes(draw.choice([1, 4, 4096]))


def remove(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data))
    del data[place : place + draw.choice([1, 4, 4096])]


def zeros(data: bytearray, draw: random.Random) -> None:
    """A download that kept its place in the file, but did not finish."""
    place = draw.randrange(len(data))
    data[place:] = bytes(len(data) - place)


def append(data: bytearray, draw: random.Random) -> None:
    data += draw.randbytes(draw.choice([1, 1000]))


def swap(data: bytearray, draw: random.Random) -> None:
    """Two blocks of the file change places."""
    size = 512
    one, two = (draw.randrange(len(data) // size) * size for _ in range(2))
    data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]


def digit(data: bytearray, draw: random.Random) -> None:
    """A digit of the header, or of a pickle, becomes another."""
    digits = [place for place in range(4000) if data[place] in b"0123456789"]
    if digits:
        data[draw.choice(digits)] = draw.choice(b"0123456789")


KINDS: list[Callable[[bytearray, random.Random], None]] = [
    *(flip, flip_start, flip_start, flip_first_bytes, flip_end, truncate, new_length, not_a_number),
    *(insert, remove, zeros, append, swap, digit, digit),
]


@pytest.fixture(scope="module")
def files(tiny_checkpoint, tiny_compvis, tmp_path_factory) -> dict[str, Path]:
    """One small checkpoint in each format."""
    folder = tmp_path_factory.mktemp("good")
    save(folder / "a.safetensors", tiny_checkpoint)
    torch.save({"state_dict": tiny_compvis, "epoch": 1}, folder / "a.ckpt")
    torch.save(
        {"state_dict": tiny_compvis, "epoch": 1},
        folder / "old.ckpt",
        _use_new_zipfile_serialization=False,
    )
    return {
        "safetensors": folder / "a.safetensors",
        "torch": folder / "a.ckpt",
        "legacy": folder / "old.ckpt",
    }


def official(path: Path, kind: str) -> dict[str, torch.Tensor]:
    """What the format's own library reads, under the names of the layout."""
    if kind == "safetensors":
        return load_file(path)
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize("kind", CASES)
def test_random_corruption(door, tiny_checkpoint, files, tmp_path, kind):
    good = files[kind].read_bytes()
    path = tmp_path / "model"
    naming = "ldm" if kind == "safetensors" else "compvis"
    family = None if kind == "safetensors" else tiny_checkpoint.family
    door.megabytes = MEGABYTES
    for seed in range(CASES[kind] * TIMES):
        draw = random.Random(seed)
        data = bytearray(good)
        change = draw.choice(KINDS)
        change(data, draw)
        path.write_bytes(data)
        found = door.ends(read, path, family=family, errors=CheckpointError)
        if found is not None:
            ours, theirs = renamed(found, naming), official(path, kind)
            same = all(torch.equal(ours[name], theirs[name]) for name in ours)
            assert same, (seed, change.__name__)
    assert door.refused > CASES[kind] / 4
    assert door.read > CASES[kind] / 20  # a flipped bit in a number is still a number


def test_swapped_files(tiny_checkpoint, files, tmp_path):
    """Each under the other's name: what counts is the content."""
    for kind, name in (("safetensors", "a.ckpt"), ("torch", "a.safetensors"), ("legacy", "a.bin")):
        (tmp_path / name).write_bytes(files[kind].read_bytes())
        found = read(tmp_path / name, family=tiny_checkpoint.family)
        assert torch.equal(found.unet.stem.weight, tiny_checkpoint.unet.stem.weight)


def test_every_truncation_of_a_header(files, tmp_path):
    path = tmp_path / "model.safetensors"
    for kind in files:
        data = files[kind].read_bytes()
        for size in [*range(40), *range(40, 4000, 97)]:
            path.write_bytes(data[:size])
            with pytest.raises(CheckpointError):
                read(path)


def test_a_number_that_is_none_in_every_network(tiny_checkpoint, files, tmp_path):
    path = tmp_path / "model.safetensors"
    data = files["safetensors"].read_bytes()
    for name in ("unet.stem.weight", "vae.decoder.out.bias", "text.token.weight"):
        tensor = renamed(tiny_checkpoint, "ldm")[name].detach().numpy().tobytes()
        place = data.index(tensor)
        path.write_bytes(
            data[:place] + torch.tensor(math.nan).numpy().tobytes() + data[place + 4 :]
        )
        with pytest.raises(
            CheckpointError, match=rf"^{name} in .* has 1 values that are NaN or inf"
        ):
            read(path)

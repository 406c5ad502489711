"""Damage that no format shows, a flipped bit in a weight: the checksums that files carry.

They cost a pass over all bytes, at 1 to 2 GB/s. The archives of torch.save are checked in a second
thread while their tensors are read, and only what is read of them: not the weights beside their
averages, which are half of a training's file. All of it, and our own files, which are mapped and
not read, are checked on demand.
"""

import json
from bisect import bisect
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from .archive import contents, crc32
from .errors import CheckpointError
from .mapped import MappedFile, is_safetensors, read_safetensors
from .matching import first
from .opening import OpenedCheckpoint
from .torchfile import is_zip
from .write_safetensors import CHECKSUMS


class Verified(NamedTuple):
    """checked   number of tensors or members that have a checksum
    damaged   the names of those that are not what was written
    """

    checked: int
    damaged: list[str]


@contextmanager
def verified_meanwhile(opened: OpenedCheckpoint, names: Iterable[str]) -> Iterator[None]:
    """Check what holds the tensors of these names while something else is done. CheckpointError,
    once that is done, if it is not what was written."""
    with ThreadPoolExecutor(1) as thread:
        checked = thread.submit(verify, opened, names)
        yield
        if damaged := checked.result().damaged:
            count = f"{len(damaged)} parts of it are" if damaged[1:] else "a part of it is"
            what = f"{opened.path} is damaged: {count} not what was written ({first(damaged)})"
            raise CheckpointError(f"{what}; download it again")


def verify(opened: OpenedCheckpoint, names: Iterable[str] | None = None) -> Verified:
    """Every checksum in the files of a checkpoint, or those of what holds the tensors of these
    names. CheckpointError: they make no sense."""
    count, damaged = 0, []
    weights = [opened.weights[name] for name in (opened.weights if names is None else names)]
    for file in sorted({weight.file for weight in weights}, key=_path):
        sums = checksums(file)
        if names is not None:
            offsets = sorted(weight.offset for weight in weights if weight.file is file)
            held = {
                name: bisect(offsets, end - 1) - bisect(offsets, start - 1)
                for name, (start, end, _) in sums.items()
            }
            sums = {name: entry for name, entry in sums.items() if held[name]}
        count += len(sums)
        damaged += [name for name, (*at, value) in sums.items() if crc32(file, *at) != value]
    return Verified(count, damaged)


def _path(file: MappedFile) -> str:
    return str(file.path)


def checksums(file: MappedFile) -> dict[str, tuple[int, int, int]]:
    """By their names: start, end and CRC-32 of what has one."""
    start = file.bytes[:1024]
    if is_zip(start):
        members = contents(file)[1]
        computed = any(member.crc32 for member in members.values())
        return {name: found[1:4] for name, found in members.items()} if computed else {}
    if not is_safetensors(start):
        return {}
    weights, metadata = read_safetensors(file)
    try:
        written = json.loads(metadata.get(CHECKSUMS, "{}"))
        sums = {name: int(written[name], 16) for name in weights if name in written}
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{file.path} has checksums that are none: {error}") from error
    return {
        name: (weights[name].offset, weights[name].offset + weights[name].nbytes, value)
        for name, value in sums.items()
    }

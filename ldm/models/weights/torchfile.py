"""The files of torch.save: a pickle, and the storages of its tensors as plain bytes.

Since torch 1.6 a zip archive, whose members are not compressed so that they can be mapped; before,
one stream.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

from .errors import CheckpointError, cut_short
from .mapped import MappedFile, Weight
from .names import Storage, Stored
from .unpickle import unpickle

# The pickle of the number 0x1950a86a20f9469cfc6c, but for its heading.
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MAX_CONTENTS = 16_000_000  # bytes of an archive's table of contents


def is_zip(start: bytes) -> bool:
    """By the first bytes of a file."""
    return start.startswith(b"PK\x03\x04")


def is_legacy(start: bytes) -> bool:
    """By the first bytes of a file."""
    return start.startswith(b"\x80") and LEGACY in start[:32]


def read_zip(file: MappedFile) -> dict[str, Weight]:
    """The named tensors of a file of torch.save. CheckpointError, UnsafePickle: see `unpickle`."""
    members = contents(file)
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(
            f"{file.path} is a zip archive, but not of torch.save: it has {len(pickles)} data.pkl"
        )
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise CheckpointError(
            f"{file.path} is a TorchScript program, not a checkpoint: the weights alone are needed"
        )
    start, end = span(file, members[pickles[0]])
    program = file.bytes[start:end]
    if zlib.crc32(program) != members[pickles[0]].CRC:
        raise CheckpointError(
            f"{file.path} is damaged: its pickle is not what was written; download it again"
        )
    tensors = named_tensors(unpickle(io.BytesIO(program), file.path).value, file.path)

    def begin(storage: Storage) -> int:
        name = f"{folder}data/{storage.key}"
        if name not in members:
            raise CheckpointError(
                f"{file.path} is damaged: it lacks {name}, which its pickle speaks of"
            )
        start, end = span(file, members[name])
        if end - start < storage.numel * storage.dtype.itemsize:
            raise CheckpointError(f"{file.path} is damaged: {name} is smaller than its pickle says")
        return start

    return {name: weight(file, begin(stored.storage), stored) for name, stored in tensors.items()}


class Bounded(io.FileIO):
    """A file of which no large piece can be read: `zipfile` believes every size it finds."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_CONTENTS:
            raise ValueError("its table of contents is too large")
        return super().read(MAX_CONTENTS if size is None or size < 0 else size)


def contents(file: MappedFile) -> dict[str, zipfile.ZipInfo]:
    try:
        with Bounded(str(file.path)) as raw, zipfile.ZipFile(raw) as archive:
            return {member.filename: member for member in archive.infolist()}
    except Exception as error:  # zipfile raises of every kind on a damaged archive
        reason = f"has no table of contents ({error})"
        raise CheckpointError(
            f"{file.path} is cut short or damaged: it {reason}; download it again"
        ) from error


def span(file: MappedFile, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Where the bytes of a member start and end in the file."""
    if (
        member.compress_type != zipfile.ZIP_STORED
        or member.flag_bits & 1
        or member.compress_size != member.file_size
    ):
        raise CheckpointError(
            f"{file.path} has a compressed or encrypted {member.filename}: "
            "torch.save writes no such"
        )
    header = file.bytes[member.header_offset : member.header_offset + 30]
    name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    start = member.header_offset + 30 + name + extra
    if not is_zip(header) or member.header_offset < 0 or start + member.file_size > len(file):
        raise CheckpointError(
            f"{file.path} is damaged: {member.filename} is not where its table of contents says"
        )
    return start, start + member.file_size


def read_legacy(file: MappedFile) -> dict[str, Weight]:
    """The same for files of torch before 1.6: five pickles, then each storage with its length
    before it."""
    stream = file.bytes
    stream.seek(0)
    _magic, _version, _machine, content, order = [unpickle(stream, file.path) for _ in range(5)]
    position, starts = stream.tell(), {}
    end = position + sum(8 + item.numel * item.dtype.itemsize for item in content.storages.values())
    if end > len(file):
        raise cut_short(file.path, len(file), end)
    for key in order.value if isinstance(order.value, list) else ():
        storage = content.storages.get(key) if isinstance(key, str) else None
        if (
            storage is None
            or int.from_bytes(stream[position : position + 8], "little") != storage.numel
        ):
            raise CheckpointError(f"{file.path} is damaged: a storage is not where it should be")
        starts[key] = position + 8
        position = starts[key] + storage.numel * storage.dtype.itemsize
    tensors = named_tensors(content.value, file.path)
    if absent := [name for name, stored in tensors.items() if stored.storage.key not in starts]:
        raise CheckpointError(f"{file.path} is damaged: it lacks the storage of {absent[0]}")
    return {
        name: weight(file, starts[stored.storage.key], stored) for name, stored in tensors.items()
    }


def named_tensors(content: Any, path: Path) -> dict[str, Stored]:
    """A dictionary's tensors, or those of the "state_dict" within it, as trainers write it."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} is not a checkpoint: its pickle is not a dictionary of tensors"
        )
    tensors = {name: value for name, value in content.items() if isinstance(value, Stored)}
    if not tensors:
        names = ", ".join(list(content)[:5])
        raise CheckpointError(
            f"{path} is not a checkpoint: it has no named tensors, but {names or 'nothing'}"
        )
    return tensors


def weight(file: MappedFile, start: int, stored: Stored) -> Weight:
    dtype = stored.storage.dtype
    return Weight(file, dtype, stored.shape, stored.stride, start + stored.offset * dtype.itemsize)

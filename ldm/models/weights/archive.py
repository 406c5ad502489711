"""The zip archives of torch.save: where each member lies. None is compressed, so that all can be
mapped; and nothing is read twice over, or under two names.

The archive of a TorchScript program is one, too, with the program in the folder code/ beside the
tensors: that is left alone.
"""

import zipfile
import zlib
from typing import NamedTuple

from .errors import CheckpointError
from .mapped import MappedFile

MAX_CONTENTS = 8_000_000  # bytes of the table of contents; Stable Diffusion 1 has 100,000


class Member(NamedTuple):
    """header, start, end   of its local header, and of its bytes, in the file
    crc32                of its bytes; 0: it was not computed, as torch can be told to do
    behind               length of the data descriptor behind them
    """

    header: int
    start: int
    end: int
    crc32: int
    behind: int


class Bounded:
    """A file of which no large piece can be read: `zipfile` believes every size it finds."""

    def __init__(self, file: MappedFile) -> None:
        self.file, self.position = file, 0

    def read(self, size: int = -1) -> bytes:
        left = len(self.file) - self.position
        wanted = left if size < 0 else min(size, left)
        if wanted > MAX_CONTENTS:
            raise ValueError("its table of contents is too large")
        self.position += wanted
        return self.file.bytes[self.position - wanted : self.position]

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, len(self.file))[whence]
        if self.position < 0:
            raise ValueError("it points before the start of the file")
        return self.position

    def tell(self) -> int:
        return self.position

    def seekable(self) -> bool:
        return True


def contents(file: MappedFile) -> tuple[str, dict[str, Member]]:
    """The folder in which all lies, and all members by their names. CheckpointError says what is
    wrong with them."""
    try:
        with zipfile.ZipFile(Bounded(file)) as archive:
            listed, end = archive.infolist(), archive.start_dir
    except Exception as error:  # zipfile raises of every kind on a damaged archive
        reason = f"has no table of contents ({error})"
        raise CheckpointError(
            f"{file.path} is cut short or damaged: it {reason}; download it again"
        ) from error
    folder = folder_of(file, [info.filename for info in listed])
    program = f"{folder}code/"
    members: dict[str, Member] = {}
    for info in listed:
        name = info.filename
        if name in members:
            raise CheckpointError(f"{file.path} is damaged: it has {name} twice")
        if not name.startswith(program) and is_packed(info):
            raise CheckpointError(
                f"{file.path} has a compressed or encrypted {name}: torch.save writes no such"
            )
        members[name] = member(file, info, end)
    check_places(file, members, end)
    read = {name: found for name, found in members.items() if not name.startswith(program)}
    return folder, read


def check_places(file: MappedFile, members: dict[str, Member], end: int) -> None:
    """Members lie one after the other, each perhaps with a data descriptor behind it. Where more is
    between two, a local header may lie of its own length: the checksum tells."""
    in_order = sorted(members, key=lambda name: members[name].header)
    begins = [*(members[name].header for name in in_order[1:]), end]
    for name, other, begin in zip(in_order, [*in_order[1:], "the table"], begins):
        found = members[name]
        if found.end > begin:
            raise CheckpointError(
                f"{file.path} is damaged: {other} begins within the bytes of {name}"
            )
        if begin - found.end != found.behind and found.crc32 != crc32(file, found.start, found.end):
            raise CheckpointError(f"{file.path} is damaged: {name} is not what was written")


def folder_of(file: MappedFile, names: list[str]) -> str:
    pickles = {name for name in names if name.rpartition("/")[2] == "data.pkl"}
    if len(pickles) != 1:
        raise CheckpointError(
            f"{file.path} is a zip archive, but not of torch.save: it has {len(pickles)} data.pkl"
        )
    return pickles.pop().removesuffix("data.pkl")


def is_packed(info: zipfile.ZipInfo) -> bool:
    stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
    return not stored or info.compress_size != info.file_size


def member(file: MappedFile, info: zipfile.ZipInfo, limit: int) -> Member:
    """Where a member is; it must end before `limit`, where the table of contents begins."""
    at = info.header_offset
    header = file.bytes[at : at + 30] if at >= 0 else b""
    name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    start = at + 30 + name + extra
    if not header.startswith(b"PK\x03\x04") or start + info.compress_size > limit:
        raise CheckpointError(
            f"{file.path} is damaged: {info.filename} is not where its table of contents says"
        )
    local = file.bytes[at + 30 : at + 30 + name]
    if local not in (info.orig_filename.encode(), info.orig_filename.encode("cp437", "replace")):
        raise CheckpointError(
            f"{file.path} is damaged: {info.filename} is called {local!r} where it lies"
        )
    behind = 0
    if info.flag_bits & 8:
        behind = 24 if info.file_size >= 2**32 - 1 else 16
    return Member(at, start, start + info.compress_size, info.CRC, behind)


def crc32(file: MappedFile, start: int, end: int, step: int = 2**24) -> int:
    """The checksum of these bytes of a file, a piece at a time."""
    value = 0
    for at in range(start, end, step):
        value = zlib.crc32(memoryview(file.bytes)[at : min(at + step, end)], value)
    file.forget(start, end)
    return value

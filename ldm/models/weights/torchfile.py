"""The files of torch.save: a pickle, and the storages of its tensors as plain bytes.

Since torch 1.6 a zip archive, whose members are not compressed so that they can be mapped; before,
one stream.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .archive import contents
from .errors import CheckpointError, cut_short, gigabytes
from .mapped import MappedFile, Weight
from .names import ScriptObject, Storage, Stored
from .stream import MAX_PICKLE, Stream
from .unpickle import unpickle

# The pickle of the number 0x1950a86a20f9469cfc6c, but for its heading.
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
ROOTS = (
    "state_dict",
    "model",
    "module",
    "model_state_dict",
    "params_ema",
    "params",
    "weights",
)  # where trainers put the weights

IP_ADAPTER = "image_proj", "ip_adapter"  # the two dictionaries of its files

MAX_NAME = 500  # letters of the name of a module within others; CLIP's have 50


Pick = Callable[[Any, Path], dict[str, Stored]]  # content of a pickle -> tensors in it


def is_zip(start: bytes) -> bool:
    """By the first bytes of a file."""
    return start.startswith(b"PK\x03\x04")


def is_legacy(start: bytes) -> bool:
    """By the first bytes of a file."""
    return start.startswith(b"\x80") and LEGACY in start[:32]


def read_zip(file: MappedFile, pick: Pick | None = None) -> dict[str, Weight]:
    """The tensors of a file of torch.save that `pick` takes from its content, or else
    `named_tensors`. CheckpointError, UnsafePickle: see `unpickle`."""
    folder, members = contents(file)
    order = members.get(f"{folder}byteorder")
    if order is not None and file.bytes[order.start : order.end] not in (b"little", b""):
        raise CheckpointError(f"{file.path} has numbers that are not little-endian: not supported")
    _, start, end, crc32, _ = members[f"{folder}data.pkl"]
    if end - start > MAX_PICKLE:
        raise CheckpointError(
            f"{file.path} has a pickle of {gigabytes(end - start)}, and no checkpoint has more "
            f"than {gigabytes(MAX_PICKLE)} of it"
        )
    program = file.bytes[start:end]
    computed = any(member.crc32 for member in members.values())  # torch can be told not to
    if computed and crc32 != zlib.crc32(program):
        raise CheckpointError(
            f"{file.path} is damaged: its pickle is not what was written; download it again"
        )
    tensors = (pick or named_tensors)(unpickle(Stream(program), file.path).value, file.path)

    def begin(storage: Storage) -> int:
        name = f"{folder}data/{storage.key}"
        if name not in members:
            raise CheckpointError(
                f"{file.path} is damaged: it lacks {name}, which its pickle speaks of"
            )
        _, start, end, _, _ = members[name]
        if end - start < storage.numel * storage.dtype.itemsize:
            raise CheckpointError(f"{file.path} is damaged: {name} is smaller than its pickle says")
        return start

    return {name: weight(file, begin(stored.storage), stored) for name, stored in tensors.items()}


def read_legacy(file: MappedFile, pick: Pick | None = None) -> dict[str, Weight]:
    """The same for files of torch before 1.6: five pickles, then each storage with its length
    before it."""
    data, position, pickles, starts = file.bytes, 0, [], {}
    for _ in range(5):
        stream = Stream(data, position)
        pickles.append(unpickle(stream, file.path))
        position = stream.position
    _magic, _version, _machine, content, order = pickles
    end = position + sum(8 + item.numel * item.dtype.itemsize for item in content.storages.values())
    if end > len(file):
        raise cut_short(file.path, len(file), end)
    for key in order.value if isinstance(order.value, list) else ():
        storage = content.storages.get(key) if isinstance(key, str) else None
        size = int.from_bytes(data[position : position + 8], "little")
        if storage is None or size != storage.numel or key in starts:
            raise CheckpointError(f"{file.path} is damaged: a storage is not where it should be")
        starts[key] = position + 8
        position = starts[key] + storage.numel * storage.dtype.itemsize
    tensors = (pick or named_tensors)(content.value, file.path)
    if absent := [name for name, stored in tensors.items() if stored.storage.key not in starts]:
        raise CheckpointError(f"{file.path} is damaged: it lacks the storage of {absent[0]}")
    return {
        name: weight(file, starts[stored.storage.key], stored) for name, stored in tensors.items()
    }


def named_tensors(content: Any, path: Path) -> dict[str, Stored]:
    """A dictionary's tensors, or those of the dictionary within it that trainers put them into."""
    if isinstance(content, ScriptObject):
        return tensors_of_script(content, path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} is not a checkpoint: its pickle is not a dictionary of tensors"
        )
    for _ in range(4):  # deep enough for {"model": {"state_dict": …}}
        tensors = {name: value for name, value in content.items() if isinstance(value, Stored)}
        inside = {name: value for name, value in content.items() if isinstance(value, dict)}
        roots = [name for name in ROOTS if holds_tensors(inside.get(name))]
        if roots and (roots[0] == "state_dict" or len(tensors) < len(inside[roots[0]])):
            content = inside[roots[0]]
        elif tensors:
            return tensors
        elif all(holds_tensors(inside.get(part)) for part in IP_ADAPTER):
            return {
                f"{part}.{name}": value
                for part in IP_ADAPTER
                for name, value in inside[part].items()
                if isinstance(value, Stored)
            }
        else:
            break
    names = ", ".join(list(content)[:5])
    raise CheckpointError(
        f"{path} is not a checkpoint: it has no named tensors, but {names or 'nothing'}"
    )


def tensors_of_script(root: ScriptObject, path: Path) -> dict[str, Stored]:
    """All tensors of a TorchScript program's modules, by their dotted names; each module once."""
    found: dict[str, Stored] = {}
    seen, left = {id(root)}, [("", root)]
    for prefix, module in left:
        if len(prefix) > MAX_NAME:
            raise CheckpointError(f"{path} is damaged: it names modules in {len(prefix)} letters")
        for name, value in module.items():
            if isinstance(value, Stored):
                found[prefix + name] = value
            elif isinstance(value, ScriptObject) and id(value) not in seen:
                seen.add(id(value))
                left.append((f"{prefix}{name}.", value))
    return found


def holds_tensors(found: Any, depth: int = 3) -> bool:
    """Whether it is a dictionary of tensors, or of such a one, and so on."""
    return (isinstance(found, Stored) and depth < 3) or (
        isinstance(found, dict)
        and depth > 0
        and any(holds_tensors(value, depth - 1) for value in found.values())
    )


def weight(file: MappedFile, start: int, stored: Stored) -> Weight:
    dtype = stored.storage.dtype
    return Weight(file, dtype, stored.shape, stored.stride, start + stored.offset * dtype.itemsize)

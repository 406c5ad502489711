"""What the names in a pickle mean here: none of them is ever imported.

What torch's few functions would build is noted down as a `Stored` tensor; any other object, a
callback of the training say, is an `IgnoredObject`. Names that no honest checkpoint has are not
merely left alone: their file is refused.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from .mapped import are_sizes


@dataclass(frozen=True)
class Name:
    """Something in Python that a pickle speaks of."""

    module: str
    name: str


class IgnoredObject:
    """In the place of an object that is of no use here."""


class ScriptObject(dict[str, Any]):
    """A module of a TorchScript program: its attributes, among them tensors and other modules."""


@dataclass(frozen=True)
class Storage:
    """A block of numbers that lies beside the pickle."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class Stored:
    """A tensor: part of a storage. All in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

# Modules through which a program reaches the machine it runs on.
MODULES = """
    _ctypes _functools _io _operator _pickle _posixsubprocess _socket _thread asyncio atexit bdb
    cProfile cPickle cffi cloudpickle code codeop commands concurrent ctypes dill distutils doctest
    ftplib functools gc http imp importlib inspect io joblib linecache marshal mmap multiprocessing
    nt operator os pdb pickle pip pkgutil platform popen2 posix profile pty py_compile pydoc
    requests runpy setuptools shelve shutil signal site smtplib socket sqlite3 ssl subprocess sys
    tempfile threading timeit trace types urllib urllib2 venv webbrowser zipimport
"""
UNSAFE_MODULES = frozenset(MODULES.split())
# The same, in packages that are harmless otherwise.
INSIDE = """
    numpy.ctypeslib numpy.distutils numpy.f2py numpy.lib.npyio numpy.load numpy.testing
    torch._dynamo torch._inductor torch.classes torch.compile torch.distributed.elastic
    torch.distributed.launch torch.distributed.rpc torch.distributed.run torch.fx torch.hub
    torch.jit torch.library torch.load torch.multiprocessing torch.ops torch.package torch.save
    torch.serialization.load torch.storage._load_from_bytes torch.testing
    torch.utils.collect_env torch.utils.cpp_extension torch.utils.model_zoo
"""
UNSAFE_INSIDE = frozenset(INSIDE.split())
BELOW = tuple(f"{inside}." for inside in INSIDE.split())
BUILTINS = """
    bool bytearray bytes complex dict float frozenset int list long object range set slice str tuple
    unicode xrange
"""
SAFE_BUILTINS = BUILTINS.split()
SCRIPT = "__torch__"  # the classes of a TorchScript program, which are in its archive
SCRIPT_LISTS = "torch.jit._pickle"  # how such a program marks its lists


@lru_cache(maxsize=1024)
def is_forbidden(name: Name) -> bool:
    whole = f"{name.module}.{name.name}"
    parts = name.name.split(".")
    if name.module == SCRIPT_LISTS and len(parts) == 1:
        return False
    return (
        name.module.split(".")[0] in UNSAFE_MODULES
        or (name.module in ("builtins", "__builtin__") and name.name not in SAFE_BUILTINS)
        or whole in UNSAFE_INSIDE
        or whole.startswith(BELOW)
        or any(part in UNSAFE_MODULES or part.startswith("__") for part in parts)
    )


def rebuild_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any = None,
    hooks: Any = None, metadata: Any = None,
) -> Stored:  # fmt: skip
    """What torch's function of this name makes, if all of it lies within the storage."""
    if not isinstance(storage, Storage) or not (
        are_sizes(shape) and are_sizes(stride) and are_sizes([offset])
    ):
        raise ValueError("its arguments are not a storage and sizes")
    steps = zip(shape, stride, strict=True)
    last = -1 if 0 in shape else sum((size - 1) * step for size, step in steps)
    if offset + last >= storage.numel or math.prod(shape) > storage.numel:
        raise ValueError(
            f"a tensor of shape {shape} does not lie within its storage of {storage.numel} numbers"
        )
    return Stored(storage, offset, tuple(shape), tuple(stride))


def storage_of(identity: Any) -> Storage:
    """The storage that torch writes down in a pickle as ("storage", its class, its key, its device,
    its size)."""
    kind, name, key, _, numel, *_ = identity
    if (
        kind != "storage"
        or not isinstance(name, Name)
        or not isinstance(key, str)
        or not are_sizes([numel])
    ):
        raise ValueError("it has a storage that torch did not write")
    if name.module != "torch" or name.name not in STORAGES:
        raise ValueError(f"it has a storage of the unknown kind {name.module}.{name.name}")
    return Storage(key, STORAGES[name.name], numel)


def empty_dictionary(*arguments: Any) -> Any:
    return {} if not arguments else IgnoredObject()


def first_argument(data: Any, *rest: Any) -> Any:
    return data


BUILDERS: dict[Name, Callable[..., Any]] = {
    Name("collections", "OrderedDict"): empty_dictionary,
    Name("builtins", "dict"): empty_dictionary,
    Name("__builtin__", "dict"): empty_dictionary,
    Name("torch.nn.modules.container", "ParameterDict"): empty_dictionary,
    Name("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    Name("torch._utils", "_rebuild_parameter"): first_argument,
    Name("torch._utils", "_rebuild_parameter_with_state"): first_argument,
}

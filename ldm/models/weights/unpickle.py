"""A pickle as data.

A pickle is a program for a small stack machine, and some of its instructions call whatever in
Python the program names; so that to unpickle a stranger's file is to run it. The machine here has
the same instructions (Python's `pickletools` describes each), but it imports nothing and calls
nothing but the few functions of `names.BUILDERS`. It keeps tensors, lists, tuples, and dictionaries
whose keys are text or small numbers, as text; and is indifferent to the rest.
"""

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from .errors import CheckpointError
from .names import (
    BUILDERS,
    SCRIPT,
    IgnoredObject,
    Name,
    ScriptObject,
    Storage,
    is_forbidden,
    storage_of,
)
from .stream import Stream

MAX_INSTRUCTIONS = 1_000_000  # three times what a training state of Stable Diffusion needs
MAX_NAMES = 100_000  # of things in Python; honest files name each once
MAX_MEMO = 2**32  # numbers in the memo are positions; hashes of greater ones may be made to collide


class UnsafePickle(CheckpointError):
    """A pickle that tries to do more than to be data. Nothing of it has been run."""


CARRY_A_VALUE = """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
"""
VALUES = frozenset(CARRY_A_VALUE.split())  # they put on the stack what stands behind them
MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": IgnoredObject,
}


class Pickled(NamedTuple):
    """What a pickle describes, and every storage that it speaks of, by its key."""

    value: Any
    storages: dict[str, Storage]


def unpickle(stream: Stream, path: Path) -> Pickled:
    """Read the pickle at the stream's position; the stream then stands behind it. `path` is for
    messages.

    UnsafePickle if it speaks of what no checkpoint needs, or misuses what it may; CheckpointError
    if it is damaged.
    """
    machine, readable = Machine(), cast(IO[bytes], stream)  # genops asks no more of it than Stream
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(readable)):
            if count >= MAX_INSTRUCTIONS:
                raise ValueError(f"it has more than {MAX_INSTRUCTIONS} instructions")
            machine.step(instruction.name, argument)
        return Pickled(machine.stack.pop(), machine.storages)
    except Forbidden as forbidden:
        raise UnsafePickle(
            f"{path} is refused, and nothing of it was run: its pickle {forbidden}"
        ) from None
    except DAMAGE as error:
        raise CheckpointError(f"{path} has a damaged pickle: {error}") from error


DAMAGE = (  # what reading a damaged pickle may raise
    *(ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, EOFError, RecursionError),
)


class Forbidden(Exception):
    """What the pickle tries to do."""


class Machine:
    """stack      what the instructions work on; `marks` holds the stacks that the instruction MARK
                  has put aside
    memo       what the pickle wants to use again
    storages   those it has spoken of
    names      how many things in Python it has named
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.names = 0

    def step(self, instruction: str, argument: Any) -> None:
        """What moves on the stack, and between it and the memo."""
        stack = self.stack
        match instruction:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case value if value in VALUES:
                stack.append(argument)
            case maker if maker in MAKERS:
                stack.append(MAKERS[maker]())
            case "MARK":
                self.marks.append(stack)
                self.stack = []
            case "POP" if stack:
                stack.pop()
            case "POP" | "POP_MARK":
                self.since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT" if 0 <= argument < MAX_MEMO:
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case _:
                self.collect(instruction, argument)

    def collect(self, instruction: str, argument: Any) -> None:
        """What makes and fills tuples, lists, dictionaries and sets."""
        match instruction:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.push(tuple(self.pop(int(instruction[-1]))))
            case "TUPLE":
                self.push(tuple(self.since_mark()))
            case "LIST":
                self.push(self.since_mark())
            case "DICT":
                items = self.since_mark()
                self.push({})
                self.set_items(items)
            case "FROZENSET":
                self.since_mark()
                self.push(IgnoredObject())
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS" | "ADDITEMS":
                self.extend(self.since_mark())
            case "SETITEM":
                self.set_items(self.pop(2))
            case "SETITEMS":
                self.set_items(self.since_mark())
            case _:
                self.call(instruction, argument)

    def call(self, instruction: str, argument: Any) -> None:
        """What names something in Python, and what calls it to make an object."""
        match instruction:
            case "GLOBAL":
                self.push(self.named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.push(self.named(*self.pop(2)))
            case "REDUCE" | "NEWOBJ":
                self.push(self.made(*self.pop(2)))
            case "NEWOBJ_EX":
                name, arguments, _ = self.pop(3)
                self.push(self.made(name, arguments))
            case "INST":
                name = self.named(*argument.split(" ", 1))
                self.push(self.made(name, tuple(self.since_mark())))
            case "OBJ":
                name, *arguments = self.since_mark()
                self.push(self.made(name, tuple(arguments)))
            case "BUILD":
                (state,) = self.pop(1)  # of an object; no tensor needs it, but a ParameterDict
                if isinstance(self.stack[-1], ScriptObject) and isinstance(state, dict):
                    self.stack[-1].update(state)
                elif isinstance(self.stack[-1], dict) and isinstance(state, dict):
                    self.stack[-1].update(state.get("_parameters") or {})
            case "BINPERSID":
                storage = storage_of(*self.pop(1))
                if self.storages.setdefault(storage.key, storage) != storage:
                    raise ValueError(f"the storage {storage.key!r} has two sizes or types in it")
                self.push(storage)
            case _:
                raise ValueError(f"the instruction {instruction} has no place in a checkpoint")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("it takes more from the stack than there is")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], IgnoredObject):
            self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], IgnoredObject):
            pairs = zip(items[::2], items[1::2])
            named = ((text_of(key), value) for key, value in pairs)
            self.stack[-1].update((name, value) for name, value in named if name is not None)

    def named(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name in it is not text")
        self.names += 1
        if self.names > MAX_NAMES:
            raise ValueError(f"it names more than {MAX_NAMES} things in Python")
        if is_forbidden(found := Name(module, name)):
            raise Forbidden(f"asks for {module}.{name}")
        return found

    def made(self, maker: Any, arguments: Any) -> Any:
        """What calling a function or a class would give."""
        if not isinstance(maker, Name | IgnoredObject) or not isinstance(arguments, tuple):
            raise TypeError("it calls what cannot be called")
        if maker not in BUILDERS:
            script = isinstance(maker, Name) and maker.module.split(".")[0] == SCRIPT
            return ScriptObject() if script else IgnoredObject()
        try:
            return BUILDERS[maker](*arguments)
        except (TypeError, ValueError) as error:
            raise Forbidden(f"misuses {maker.module}.{maker.name}: {error}") from None


def text_of(key: Any) -> str | None:
    """A key of a dictionary; None: it is not kept.

    >>> text_of("a"), text_of(768), text_of(-1), text_of(True)
    ('a', '768', None, None)
    """
    if isinstance(key, str):
        return key
    return str(key) if type(key) is int and 0 <= key < 10**6 else None

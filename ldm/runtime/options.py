"""Fields of a dataclass that say what a command line, checks and help have to know of them."""

from dataclasses import field, fields
from functools import cache
from typing import Any, TypeVar, cast

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *flags: str,
    bounds: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    bare: Any = None,
    several: bool = False,
    whole: bool = False,
    metavar: tuple[str, str] = ("W", "H"),
    file: bool = False,
    words: tuple[str, ...] = (),
    left_open: str = "off",
) -> Any:
    """A field of Request: its help, its flags on the command line, its bounds or its choices, what
    a flag without a value means, if it may stand so; whether it may be a list of texts, whether a
    pair is of whole numbers, and what they are; whether it names something that is opened, see
    `metadata.named_files`, but for these words; and what None stands for."""
    metadata = {
        "several": several,
        "whole": whole,
        "metavar": metavar,
        "file": file,
        "words": words,
        "left_open": left_open,
        "help": help,
        "flags": flags,
        "bounds": bounds,
        "choices": choices,
        "bare": bare,
    }
    return field(default=default, metadata=metadata)


def documented(cls: type[T]) -> type[T]:
    """A dataclass whose docstring has a line on each field: its help, default, and bounds or
    choices."""
    lines = [f"{cls.__doc__}\n"]
    for f in fields(cast(Any, cls)):
        low, high = f.metadata["bounds"] or (None, None)
        span = f"; {low} to {high}" if low is not None else ""
        span += f"; {', '.join(f.metadata['choices'])}" if f.metadata["choices"] else ""
        default = f.metadata["left_open"] if f.default is None else repr(f.default)
        lines.append(f"    {f.name:20} {f.metadata['help']} (default: {default}{span})")
    cls.__doc__ = "\n".join(lines)
    return cls


@cache
def names_of(cls: type) -> dict[str, str]:
    """The fields by all that they are called: their names, and those of their flags."""
    return {
        name.lstrip("-").replace("-", "_"): f.name
        for f in fields(cast(Any, cls))
        for name in (f.name, *f.metadata["flags"])
    }

"""A dataclass whose fields are checked, and read off for a command line and for JSON."""

from collections.abc import Collection, Mapping
from dataclasses import Field, field, fields
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *flags: str,
    bounds: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    from_image: bool = False,
    bare: Any = None,
    several: bool = False,
    whole: bool = False,
    left_open: str = "off",
) -> Any:
    """A field of Request: its help, its flags on the command line, its bounds or its choices,
    whether only img2img has it, what a flag without a value means, if it may stand so; whether it
    may be a list of texts, whether a pair is of whole numbers, and what None stands for."""
    metadata = {
        "several": several,
        "whole": whole,
        "left_open": left_open,
        "help": help,
        "flags": flags,
        "bounds": bounds,
        "choices": choices,
        "from_image": from_image,
        "bare": bare,
    }
    return field(default=default, metadata=metadata)


@cache
def kinds(cls: type) -> dict[str, type]:
    """The type of each field; of one that may also be None or a list, the plain one; tuple for the
    pairs of numbers."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        kind = (get_args(hint) or (hint,))[0]
        found[name] = get_origin(kind) or kind
    return found


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


def check_fields(value: Any, types: Mapping[str, type]) -> None:
    """Make the fields of a frozen dataclass plain Python; ValueError says all that is wrong."""
    problems = []
    for f in fields(value):
        try:
            plain = checked(f, types[f.name], getattr(value, f.name))
            object.__setattr__(value, f.name, plain)
        except ValueError as problem:
            problems.append(str(problem))
    if problems:
        raise ValueError("; ".join(problems))


def checked(f: Field[Any], kind: type, value: Any) -> Any:
    """The value of a field as plain Python, or an error that says what the field takes."""
    if value is None and f.default is None:
        return None
    listed = isinstance(value, (list, tuple))
    if f.metadata["several"] and listed:
        texts = tuple(text for text in value if isinstance(text, str))
        if not texts or len(texts) < len(value):
            raise ValueError(f"{f.name} must be text, or a list of texts, not {value!r}")
        return (
            tuple(checked(f, kind, text) for text in texts)
            if texts[1:]
            else checked(f, kind, texts[0])
        )
    if kind is tuple:
        if not listed or len(value) != 2:
            raise ValueError(f"{f.name} must be two numbers, not {value!r}")
        return tuple(number(f, f.metadata["whole"], one) for one in value)
    if kind in (int, float):
        return number(f, kind is int, value)
    if not isinstance(value, kind):
        what = "true or false" if kind is bool else "text"
        raise ValueError(f"{f.name} must be {what}, not {value!r}")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{f.name} must be text that UTF-8 can hold, not {value!r}")
    if f.metadata["choices"] is not None:
        known(str(value), f.metadata["choices"], f.name)
    return value


def number(f: Field[Any], whole: bool, value: Any) -> int | float:
    low, high = f.metadata["bounds"]
    kind: Any = Integral if whole else Real  # NumPy's numbers are welcome
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        what = "whole number" if whole else "number"
        raise ValueError(f"{f.name} must be a {what} from {low} to {high}, not {value!r}")
    return int(value) if whole else float(value)


def known(name: str, names: Collection[str], what: str) -> None:
    """An error that says what there is, if `name` is not among the names.

    >>> known("eular", ["euler", "heun"], "sampler")
    Traceback (most recent call last):
    ValueError: unknown sampler 'eular'; did you mean 'euler'? There are euler, heun
    """
    if name not in names:
        from .foreign import ours  # a table for mistakes only

        near = get_close_matches(name, names, n=1)
        meant = ours(name, names) or (near[0] if near else None)
        hint = "." if meant is None else f"; did you mean {meant!r}?"
        all_names = ", ".join(names)
        shown = all_names if len(all_names) <= 350 else f"{all_names[:350].rpartition(',')[0]}, ..."
        raise ValueError(f"unknown {what} {name!r}{hint} There are {shown}")

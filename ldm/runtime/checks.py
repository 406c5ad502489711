"""Checks of what was given: the fields of a dataclass, against what `options` says of them; names;
tensors."""

from collections.abc import Collection, Mapping
from dataclasses import Field, fields
from functools import cache
from numbers import Integral, Real
from typing import Any, get_args, get_origin, get_type_hints

from torch import Tensor

from .foreign import unknown
from .text import short


@cache
def kinds(cls: type) -> dict[str, type]:
    """The type of each field; of one that may also be None or a list, the plain one; tuple for the
    pairs of numbers."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        kind = (get_args(hint) or (hint,))[0]
        found[name] = get_origin(kind) or kind
    return found


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
    if f.metadata["several"] and not isinstance(value, str):
        texts = tuple(text for text in value if isinstance(text, str)) if listed else ()
        if not texts or len(texts) < len(value):
            what = "text, or a list of texts or a tuple of them"
            raise ValueError(f"{f.name} must be {what}, not {short(value)}")
        plain = tuple(checked(f, kind, text) for text in texts)
        return plain if plain[1:] else plain[0]
    if kind is tuple:
        if not listed or len(value) != 2:
            raise ValueError(f"{f.name} must be two numbers, not {short(value)}")
        return tuple(number(f, f.metadata["whole"], one) for one in value)
    if kind in (int, float):
        return number(f, kind is int, value)
    if not isinstance(value, kind):
        what = "true or false" if kind is bool else "text"
        raise ValueError(f"{f.name} must be {what}, not {short(value)}")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{f.name} must be text that UTF-8 can hold, not {short(value)}")
    if f.metadata["choices"] is not None:
        known(str(value), f.metadata["choices"], f.name)
    return value


def number(f: Field[Any], whole: bool, value: Any) -> int | float:
    low, high = f.metadata["bounds"]
    kind: Any = Integral if whole else Real  # NumPy's numbers are welcome
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        what = "whole number" if whole else "number"
        raise ValueError(f"{f.name} must be a {what} from {low} to {high}, not {short(value)}")
    return int(value) if whole else float(value)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def known(name: str, names: Collection[str], what: str) -> None:
    """ValueError, with what there is, if `name` is not among the names."""
    if name not in names:
        raise ValueError(unknown(name, names, what))


def numbers(given: object, name: str, shape: tuple[int | None, ...]) -> None:
    """ValueError unless these are finite numbers in a tensor of that shape; None: any side above
    0."""
    wanted = " x ".join("n" if side is None else str(side) for side in shape)
    if not isinstance(given, Tensor):
        raise ValueError(f"{name} must be a tensor {wanted}, not {type(given).__name__}")
    sides = tuple(given.shape)
    right = len(sides) == len(shape) and 0 not in sides
    if not right or any(want not in (None, side) for want, side in zip(shape, sides)):
        raise ValueError(f"{name} must be a tensor {wanted}, not {sides}")
    if not given.is_floating_point():
        raise ValueError(f"{name} must be floating-point numbers, not {given.dtype}")
    if not given.isfinite().all():
        raise ValueError(f"{name} must be finite numbers: these have NaN or infinity")

"""What a request says of ControlNets, T2I-Adapters and IP-Adapters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..request import Request
from ..request.additions import listed
from ..unet.union import KINDS
from .given_pictures import GIVEN

KIND_OF_HINT = {"edges": "canny", "depth": "depth", "tile": "tile", "blur": "tile"}


class Asked(NamedTuple):
    """A control as a request says it.

    strength    what its residuals are multiplied with
    start, end  the part of the steps in which it controls
    picture     file or name of the picture; None: the one that is started from
    kind        of the hint, for a union; None: it is not told
    tower       file or folder of the vision tower, for an IP-Adapter
    """

    file: str
    strength: float
    start: float
    end: float
    picture: str | None
    hint: str
    kind: str | None
    tower: str | None


def check(request: Request) -> None:
    """For `additions.CHECKS`."""
    asked_controls(request)


def asked_controls(request: Request) -> list[Asked]:
    """ValueError says what is wrong with how the controls are asked for."""
    files = listed(request.control)
    if not files:
        names = "control_image", "hint", "control_kind", "vision_tower", "guess_mode"
        if given := [name for name in names if getattr(request, name)]:
            raise ValueError(f"{given[0]} goes with a control: give control")
        return []
    pictures = of_each(request.control_image, len(files), "control_image")
    hints = of_each(request.hint, len(files), "hint")
    kinds = of_each(request.control_kind, len(files), "control_kind")
    towers = of_each(request.vision_tower, len(files), "vision_tower")
    asked = []
    for file, picture, hint, kind, tower in zip(files, pictures, hints, kinds, towers):
        kind = KIND_OF_HINT.get(hint or "") if kind is None else kind
        if kind is not None:
            kind_number(kind)
        asked.append(Asked(*parts(file), picture, hint or "none", kind, tower))
        if not Path(asked[-1].file).exists():
            raise ValueError(f"there is no control {asked[-1].file!r}")
        if picture is not None and not picture.startswith(GIVEN) and not Path(picture).is_file():
            raise ValueError(f"there is no picture {picture!r}")
        if tower is not None and not Path(tower).exists():
            raise ValueError(f"there is no vision_tower {tower!r}")
    if any(one.hint == "depth" for one in asked):
        from .makers.depth_estimate import ESTIMATOR, check_estimator

        check_estimator(ESTIMATOR)
    return asked


def of_each(value: str | tuple[str, ...] | None, count: int, name: str) -> list[str | None]:
    """One for each control; a single one is for all."""
    found = listed(value)
    if len(found) in (0, 1):
        return [found[0] if found else None] * count
    if len(found) != count:
        raise ValueError(f"{len(found)} {name}s for {count} controls: give one, or as many")
    return [*found]


def parts(text: str) -> tuple[str, float, float, float]:
    """
    >>> parts("canny.safetensors:0.8")
    ('canny.safetensors', 0.8, 0.0, 1.0)
    """
    file = re.sub(r"(:[\d.]+){1,3}$", "", text)
    numbers = text[len(file) + 1 :].split(":") if file != text else []
    try:
        given = [float(number) for number in numbers]
    except ValueError:
        given = [-1.0]
    strength, start, end = [*given, *(1.0, 0.0, 1.0)[len(given) :]]
    if not file or not 0 <= strength <= 100 or not 0 <= start < end <= 1:
        raise ValueError(
            f"control {text!r}: write FILE:STRENGTH:START:END, with a strength from 0 to 100, and "
            "a start before an end, both from 0 to 1"
        )
    return file, strength, start, end


def kind_number(name: str) -> int:
    every = *KINDS, ("shuffle",)  # which no union knows
    for number, names in enumerate(every):
        if name in names:
            return number
    known = ", ".join(name for names in every for name in names)
    raise ValueError(f"control_kind {name!r} is unknown: choose one of {known}")

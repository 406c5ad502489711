"""The fields of a request that add something to the model."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.options import option


# fmt: off
@dataclass(frozen=True)
class Additions:
    """added to the model"""

    control: str | tuple[str, ...] | None = option(None,
        "FILE[:STRENGTH[:START[:END]]] of a ControlNet or T2I-Adapter, and the part of the steps "
        "that it controls; may be repeated", "--control", several=True, file=True, left_open="none")
    control_image: str | tuple[str, ...] | None = option(None,
        "the hint of each control, or the picture that --hint makes it from; may be repeated",
        "--control_image", several=True, file=True, left_open="the picture to start from")
    hint: str | tuple[str, ...] | None = option(None,
        "how the hint of each control is made from its picture; may be repeated", "--hint",
        several=True, choices=("edges", "blur", "tile", "grey", "depth", "none"),
        left_open="none")
    control_kind: str | tuple[str, ...] | None = option(None,
        "what the hint of each union ControlNet is: canny, depth, openpose, ...; may be repeated",
        "--control_kind", several=True, left_open="as --hint says")
    guess_mode: bool = option(False,
        "let controls guess the picture without a prompt, from the hint alone", "--guess_mode")

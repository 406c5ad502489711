"""Warnings of requests that are drawn all the same, but not as may have been meant."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..clip.vocabulary import unlearnt
from ..models.families import Family
from ..prompts.chunks import parts_of
from ..request import Request
from ..runtime.warn import warn
from .known import advice, known_by

if TYPE_CHECKING:
    from .model import LatentDiffusion


def tell_low_start(request: Request, t: float, last: int) -> None:
    """Warn of noise levels that begin so low that nothing is left to draw: the originals begin
    there, too."""
    what = f"{request.steps} of {request.schedule} begins at training step {t:.0f} of {last}"
    advice = "the picture will be noise: take more steps, or --schedule trailing"
    warn(f"{what}; {advice}")


def tell_size(
    request: Request, multiple: int, own: tuple[int, int], drawn: tuple[int, int]
) -> None:
    """Warn of a picture that is brought to another size than it has, or is to be enlarged to, where
    nobody asked for that."""
    wanted = [side * (request.upscale or 1) for side in own]
    asked = request.width, request.height
    if any(said is None and side != want for said, side, want in zip(asked, drawn, wanted)):
        sizes = [f"{width:g} x {height:g}" for width, height in (own, wanted, drawn)]
        what = f"a picture of {sizes[0]}" if request.upscale is None else f"{sizes[1]}"
        why = f"sides here are multiples of {multiple}; give width and height for others"
        warn(f"{what} becomes {sizes[2]}: {why}")


def tell_small(drawn: Sequence[int], family: Family) -> None:
    """Warn of pictures that are much smaller than those of the training: in them a model sees parts
    of a picture, and draws such. drawn: width and height, or those of a tile."""
    what = f"{drawn[0]} x {drawn[1]} pixels are drawn, of a model trained at {family.size}"
    advice = "the result may lack what the prompt asks for: give larger --W and --H (width, height)"
    warn(f"{what}; {advice}")


def tell_unlearnt(model: LatentDiffusion, texts: Sequence[str], syntax: str) -> None:
    """Warn of words and signs that a model of a small vocabulary has never met, and draws anyhow;
    and say what is near that it knows, if that is told beside its file."""
    tower = model.towers[0]
    runs = [run for text in texts for part in parts_of(text, syntax) for run, _ in part]
    if lacking := unlearnt(tower.tokenizer, runs, tower.encoder.token.weight):
        words = textwrap.shorten(", ".join(lacking), 200, placeholder=" ...")
        try:
            known = known_by(model)
            told = "" if known is None else advice(known, lacking)
        except ValueError as error:  # it is advice alone that the file has
            told = f"; {error}"
        warn(f"the model has not learnt: {words}{told}")

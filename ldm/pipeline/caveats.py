"""Warnings of requests that are drawn all the same, but not as may have been meant."""

import textwrap
import warnings
from collections.abc import Sequence

from ..request import Request


def tell_low_start(request: Request, t: float, last: int) -> None:
    """Warn of noise levels that begin so low that nothing is left to draw: the originals begin
    there, too."""
    what = f"{request.steps} of {request.schedule} begins at training step {t:.0f} of {last}"
    advice = "the picture will be noise: take more steps, or --schedule trailing"
    warnings.warn(f"{what}; {advice}", stacklevel=5)


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
        warnings.warn(f"{what} becomes {sizes[2]}: {why}", stacklevel=6)


def tell_unlearnt(lacking: Sequence[str]) -> None:
    """Warn of words that a model of a small vocabulary has never seen, and draws anyhow."""
    words = textwrap.shorten(", ".join(lacking), 200, placeholder=" ...")
    warnings.warn(f"the model has not learnt: {words}", stacklevel=3)

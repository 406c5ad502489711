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


def tell_unlearnt(lacking: Sequence[str]) -> None:
    """Warn of words that a model of a small vocabulary has never seen, and draws anyhow."""
    words = textwrap.shorten(", ".join(lacking), 200, placeholder=" ...")
    warnings.warn(f"the model has not learnt: {words}", stacklevel=3)

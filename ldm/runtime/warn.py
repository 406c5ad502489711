"""Warnings that point to the line of whoever called this library, however deep they arise."""

import sys
import warnings

INSIDE = ("ldm", "torch")  # PyTorch's `no_grad` wraps some functions


def warn(message: str) -> None:
    """A UserWarning, as if from the innermost function outside of these packages."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and package(frame.f_globals) in INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def package(names: dict[str, object]) -> str:
    return str(names.get("__name__")).partition(".")[0]

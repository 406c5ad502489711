"""Imports that are quick, for a program whose first picture is waited for."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """What is imported meanwhile stays, and is never searched for garbage: that takes a fifth of
    the time of torch's import, and as long again while the first picture is drawn."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

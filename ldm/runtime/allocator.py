"""What becomes of memory that is freed: whether glibc, where that gives it, keeps it for later."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of mallopt(3)
KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
# Larger pieces go back to the system when they are freed: the most that glibc comes to by itself.
USUAL = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}


@dataclass
class State:
    """at_once  whether `returned_at_once` was called;  reused  whether it is within `reused`"""

    at_once: bool = False
    reused: bool = False


state = State()


@cache
def glibc() -> Any:
    """None where memory is another's: on Windows, macOS and some Linux."""
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError, TypeError):
        return None


def returned_at_once() -> None:
    """From now on every piece of more than a megabyte goes back to the system when it is freed."""
    state.at_once = True
    change({MMAP_THRESHOLD: 2**20})


@contextmanager
def reused() -> Iterator[None]:
    """While it lasts, what is freed is kept for what comes next, unless it is to be returned at
    once; then all of it goes back.

    A network makes and drops maps of 100 MB. Fresh memory for them comes in pages, each filled with
    zeros by the system: on a CPU a twentieth of the U-Net's time, and a seventh of the VAE's.
    """
    if glibc() is None or state.at_once or state.reused:
        yield
        return
    state.reused = True
    change(KEPT)
    try:
        yield
    finally:
        state.reused = False
        change(USUAL)
        glibc().malloc_trim(0)


def change(settings: dict[int, int]) -> None:
    if (libc := glibc()) is not None:
        for setting, value in settings.items():
            libc.mallopt(setting, value)

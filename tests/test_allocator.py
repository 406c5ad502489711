"""Memory that is kept while a network computes, and goes back."""

import sys
from contextlib import suppress

import pytest
import torch

from ldm.runtime import allocator
from ldm.runtime.allocator import KEPT, USUAL, glibc, returned_at_once, reused
from ldm.runtime.resident import resident

SIZE = 2**26


@pytest.fixture(autouse=True)
def state(monkeypatch):
    monkeypatch.setattr(allocator, "state", allocator.State())


@pytest.fixture
def told(monkeypatch):
    """What glibc is told."""

    class Told(list):
        def mallopt(self, setting, value):
            self.append((setting, value))

        def malloc_trim(self, pad):
            self.append("trim")

    said = Told()
    monkeypatch.setattr(allocator, "glibc", lambda: said)
    return said


def fresh():
    """How many bytes a map takes that the system has to give."""
    from resource import RUSAGE_SELF, getpagesize, getrusage

    before = getrusage(RUSAGE_SELF).ru_minflt
    torch.ones(SIZE, dtype=torch.uint8)
    return (getrusage(RUSAGE_SELF).ru_minflt - before) * getpagesize()


@pytest.mark.skipif(sys.platform != "linux" or glibc() is None, reason="asks Linux and glibc")
def test_a_map_takes_the_memory_of_one_before_it_and_in_the_end_it_goes_back():
    with reused():
        assert min(fresh() for _ in range(5)) < 0.1 * SIZE  # a hole may be some bytes too small
        inside = resident()
    assert resident() < inside - 0.9 * SIZE


def test_what_is_usual_comes_back_also_after_an_error_and_once_for_all(told):
    with suppress(RuntimeError), reused():
        assert told == [*KEPT.items()]
        with reused():  # as a preview is decoded while the U-Net draws
            pass
        assert told == [*KEPT.items()]
        raise RuntimeError
    assert told == [*KEPT.items(), *USUAL.items(), "trim"]


def test_nothing_is_kept_where_memory_is_limited(told):
    returned_at_once()
    before = [*told]
    assert before
    with reused():
        assert told == before


def test_elsewhere_there_is_nothing_to_tell(monkeypatch):
    monkeypatch.setattr(allocator, "glibc", lambda: None)
    returned_at_once()
    allocator.state.at_once = False
    with reused():
        assert not allocator.state.reused

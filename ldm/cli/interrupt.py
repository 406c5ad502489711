"""Ctrl-C: at once while the program starts, after the layer that is being computed while it draws,
and then at once when it is given again."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

from ..runtime.ending import leads

INTERRUPTED = 130  # the exit status that a shell gives to what Ctrl-C has ended
PATIENCE = 1.0  # seconds, in which most layers are done


@contextmanager
def starting() -> Iterator[None]:
    """While the program is imported, Ctrl-C ends it with a line: nothing is there to tidy up, and
    an exception might be lost in the C++ of torch's import, or be raised as another."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler:  # somebody else's program, which has its own
        yield
        return
    try:
        signal.signal(signal.SIGINT, lambda *_: end("interrupted"))
    except ValueError:  # a thread, which hears no signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def end(what: str) -> None:
    if leads():
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"ldm: {what}\n".encode())
    os._exit(INTERRUPTED)


def listen(ear: socket) -> None:
    """Wait for the numbers of signals, until the other end is closed; in a thread of its own.

    Python writes them at once (`signal.set_wakeup_fd`), and raises KeyboardInterrupt when the call
    that it is in is done: attention over a large picture is one call, of minutes.
    """
    from .printing import complain

    with ear:
        count = 0
        while numbers := ear.recv(64):
            before, count = count, count + numbers.count(signal.SIGINT)
            if count > 1:
                end("interrupted at once")
            late = count > before and not select.select([ear], [], [], PATIENCE)[0]
            if late and leads():
                what = "this ends when the layer that is being computed is done"
                complain(f"ldm: interrupted; {what}, and at once if you press Ctrl-C again")

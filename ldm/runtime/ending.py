"""The end of a program by Ctrl-C, alone or as one of several processes; without torch."""

import os
import signal
import sys
from contextlib import suppress
from io import StringIO


def leads() -> bool:
    """Whether this process is the only one, or that of several which speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def deafen() -> None:
    """Ignore Ctrl-C from now on, in a program that it has ended: what tidies up behind this library
    (torch does, when Python exits) would be interrupted again, with a traceback. Of several
    processes only the first has something to say."""
    with suppress(ValueError):  # in a thread, which hears no signals
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not leads():
        sys.stderr = StringIO()

"""What the command says of its flags: in --help, and of one that it does not have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches

from ..runtime.foreign import ours


class Help(argparse.HelpFormatter):
    """Says of a flag whose help names no default that it is off."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        plain = "default" in told or not action.option_strings
        plain = plain or action.dest in ("help", "version")
        return told if plain else f"{told} (default: off)"


def hint(unknown: Sequence[str], actions: Sequence[argparse.Action]) -> str:
    """What is said of words that the parser of these actions does not know, if it has a hint."""
    hints = [flag for word in unknown if (flag := meant(word, actions))]
    if not hints:
        return ""
    return f"unrecognized arguments: {' '.join(unknown)}; did you mean {', '.join(hints)}?"


def meant(word: str, actions: Sequence[argparse.Action]) -> str | None:
    """The flag that somebody meant who wrote this word, if it looks like a flag."""
    if not word.startswith("--"):
        return None
    flags = {action.dest: action.option_strings for action in actions}
    name = word.partition("=")[0]
    if (own := ours(name, flags)) is not None and flags[own]:
        return flags[own][0]
    known = [flag for names in flags.values() for flag in names if flag.startswith("--")]
    near = get_close_matches(name.replace("-", "_"), known, n=1)
    return near[0] if near else None

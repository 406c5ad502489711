"""What argparse lacks: help that says what is off, flags as people write them, and hints at those
that were meant."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from ..runtime.foreign import ours
from ..runtime.text import short


class Help(argparse.HelpFormatter):
    """Says of a flag whose help names no default that it is off."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        plain = "default" in told or not action.option_strings
        plain = plain or action.dest in ("help", "version")
        return told if plain else f"{told} (default: off)"


def spelled(args: Sequence[str], flags: Mapping[str, argparse.Action]) -> list[str]:
    """The arguments as argparse takes them: --cfg-scale 5 is --cfg_scale 5, and
    --negative_prompt -bad is --negative_prompt=-bad."""
    done = list[str]()
    for word in args:
        name, equals, value = word.partition("=")
        under = "--" + name[2:].replace("-", "_")
        if word.startswith("--") and name not in flags and under in flags:
            word = under + equals + value
        last = flags.get(done[-1]) if done else None
        dash = word.startswith("-") and not word.startswith("--") and word not in flags
        if dash and last is not None and last.nargs is None:
            done[-1] += f"={word}"
        else:
            done.append(word)
    return done


def hint(unknown: Sequence[str], actions: Sequence[argparse.Action]) -> str:
    """What is said of words that the parser of these actions does not know, if it has a hint."""
    if any(action.dest == "from_file" for action in actions) and "-" not in {
        word[:1] for word in unknown
    }:
        words = " ".join(unknown)
        return f"unrecognized arguments: {words}; did you mean --prompt {shlex.quote(words)}?"
    hints = [flag for word in unknown if (flag := meant(word, actions))]
    if not hints:
        return ""
    return f"unrecognized arguments: {' '.join(unknown)}; did you mean {', '.join(hints)}?"


def meant(word: str, actions: Sequence[argparse.Action]) -> str | None:
    """The flag that somebody meant who wrote this word, if it looks like a flag."""
    if not re.match("-.*[A-Za-z]", word):
        return None
    flags = {action.dest: action.option_strings for action in actions}
    name = word.partition("=")[0]
    if (own := ours(name, flags)) is not None and flags[own]:
        return flags[own][0]
    known = [flag for names in flags.values() for flag in names if flag.startswith("--")]
    near = get_close_matches("--" + name.lstrip("-").replace("-", "_"), known, n=1)
    return near[0] if near else None


def no_choice(value: object, choices: Iterable[object]) -> str:
    """What is said of a word that is not among the choices."""
    words = [str(choice) for choice in choices]
    near = get_close_matches(str(value).lower(), words, n=1)
    told = f"; did you mean {near[0]!r}?" if near else "."
    return f"invalid choice: {short(value)}{told} There are {', '.join(words)}"

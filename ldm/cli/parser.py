"""argparse as people write to it: hyphens for underscores, values that begin with a hyphen, names
of other programs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from ..runtime.foreign import ours
from .printing import one_line


class Help(argparse.HelpFormatter):
    """Says of a flag whose help names no default that it is off."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        plain = "default" in told or not action.option_strings
        plain = plain or action.dest in ("help", "version")
        return told if plain else f"{told} (default: off)"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.formatter_class = Help

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = None if args is None else self.spelled(args)
        found, unknown = super().parse_known_args(given, namespace)
        hints = [hint for word in unknown if (hint := self.meant(word))]
        if hints:
            words = " ".join(unknown)
            self.error(f"unrecognized arguments: {words}; did you mean {', '.join(hints)}?")
        return found, unknown

    def spelled(self, args: Sequence[str]) -> list[str]:
        """The arguments as argparse takes them: --cfg-scale 5 is --cfg_scale 5, and
        --negative_prompt -bad is --negative_prompt=-bad."""
        flags, done = self._option_string_actions, list[str]()
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

    def meant(self, word: str) -> str | None:
        """The flag that somebody meant who wrote this word, if it looks like a flag."""
        if not word.startswith("--"):
            return None
        flags = {action.dest: action.option_strings for action in self._actions}
        name = word.partition("=")[0]
        if (own := ours(name, flags)) is not None and flags[own]:
            return flags[own][0]
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        near = get_close_matches(name.replace("-", "_"), known, n=1)
        return near[0] if near else None

"""What argparse lacks: help that says what is off, flags as people write them, and hints at those
that were meant."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from ..runtime.foreign import ours
from ..runtime.text import one_line
from .help import TOLD
from .values import no_number

SPELLINGS = {  # what people write -> what it is called here
    "fp16": "float16", "f16": "float16", "half": "float16", "bf16": "bfloat16",
    "fp32": "float32", "f32": "float32", "float": "float32", "full": "float32",
    "torch.float16": "float16", "torch.bfloat16": "bfloat16", "torch.float32": "float32",
    "jpeg": "jpg", "epsilon": "eps", "v_prediction": "v", "v-prediction": "v",
}  # fmt: skip


class Help(argparse.HelpFormatter):
    """Says of a flag whose help names no default that it is off, and gives a command's own
    defaults."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        own = TOLD.get(self._prog.rpartition(" ")[2], {}).get(action.dest)
        if own is not None:
            told = re.sub(r"default: .*\)$", lambda _: f"default: {own})", told)
        plain = "default" in told or not action.option_strings
        plain = plain or action.dest in ("help", "version")
        return told if plain else f"{told} (default: off)"


def spelled(args: Sequence[str], flags: Mapping[str, argparse.Action]) -> list[str]:
    """The arguments as argparse takes them: --cfg-scale 5 is --cfg_scale 5, and
    --negative_prompt -bad is --negative_prompt=-bad."""
    done = list[str]()
    for word in args:
        last = flags.get(done[-1]) if done else None
        name, equals, value = word.partition("=")
        under = "--" + name[2:].replace("-", "_")
        if word.startswith("--") and name not in flags and under in flags:
            word = under + equals + value
        if equals and (flag := flags.get(word.partition("=")[0])) is not None:
            word = word.removesuffix(value) + called(value, flag)
        elif last is not None:
            word = called(word, last)
        dash = word.startswith("-") and not word.startswith("--") and word not in flags
        if dash and last is not None and last.nargs is None:
            done[-1] += f"={word}"
        else:
            done.append(word)
    return done


def called(value: str, flag: argparse.Action) -> str:
    """The choice of a flag that is spelt otherwise elsewhere; or the value as it is."""
    name = SPELLINGS.get(value.lower(), value)
    return name if name in (flag.choices or ()) else value


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


def plainly(message: str, parser: argparse.ArgumentParser) -> str:
    """An error of argparse's about a value, with what is allowed and what may have been meant; any
    other as it is.

    >>> parser = argparse.ArgumentParser()
    >>> plainly("argument --seed: invalid int value: 'x'", parser)
    "argument --seed: must be a whole number, not 'x'"
    >>> plainly("argument --format: invalid choice: 'pgn' (choose from 'png', 'jpg')", parser)
    "argument --format: invalid choice: 'pgn'; did you mean 'png'? There are png, jpg"
    """
    if found := re.match(r"argument (\S+): invalid (\w+) value: (.*)", message, re.DOTALL):
        names, kind, value = found.groups()
        action = parser._option_string_actions.get(names.partition("/")[0])
        told = no_number(value, kind, "" if action is None else action.dest)
        return f"argument {names}: {told}"
    choice = r"(argument \S+: invalid choice: '(.*)').* \(choose from (.*)\)"
    if found := re.match(choice, message, re.DOTALL):
        what, value, listed = found.groups()
        words = listed.replace("'", "").split(", ")
        near = get_close_matches(value.lower(), words, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"{one_line(what, 200)}{hint} There are {', '.join(words)}"
    return message

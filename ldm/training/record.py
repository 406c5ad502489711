"""What a training was begun with, so that it is never resumed with anything else.

A training that goes on with other pictures would pair the encoded latents with the wrong ones; with
another recipe, its later stages would not fit its earlier ones.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runtime.files import replacing


def begin(folder: Path, recipe: Mapping[str, Any], data: Sequence[str]) -> None:
    """Makes the folder and writes the recipe's values and the data's lines into its training.json.

    ValueError if these are there already and differ, or if there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot train into {str(folder)!r}: {error.strerror}") from None
    path, now = folder / "training.json", {"recipe": as_lines(recipe), "data": list(data)}
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(now, indent=1), "utf-8")
        return
    try:
        then = json.loads(path.read_text("utf-8"))
        kept = {what: [str(line) for line in then[what]] for what in ("recipe", "data")}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is no record of a training: give another folder") from None
    for what, lines in kept.items():
        if changes := difference(lines, now[what]):
            raise ValueError(
                f"the training in {str(folder)!r} was begun {changes}: "
                f"give it the same {what} again, or another folder"
            )


def as_lines(values: Mapping[str, Any]) -> list[str]:
    """{"a": {"b": 1}} -> ["a.b=1"]"""
    return [f"{name}={json.dumps(value)}" for name, value in _leaves(values)]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def difference(then: Sequence[str], now: Sequence[str]) -> str:
    """How two lists of lines differ, in words that follow "was begun"; "" if they do not."""
    gone, new = Counter(then) - Counter(now), Counter(now) - Counter(then)
    parts = [
        f"{word} {next(iter(lines))[:100]!r}" + (f" and {len(lines) - 1} more" * (len(lines) > 1))
        for word, lines in (("with", gone), ("without", new))
        if lines
    ]
    return " and ".join(parts) or ("in another order" if list(then) != list(now) else "")

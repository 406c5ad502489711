"""Checkpoints of other programs: recognised by their keys and shapes, each key mapped to a
parameter of ours. What is wrong with an incomplete file of our own is told the same way."""

from dataclasses import replace

from ...runtime.text import one_line
from ...runtime.warn import warn
from ..families import FAMILIES, Family
from ..keymaps import Source
from .errors import CheckpointError
from .folder_files import ADDED
from .matching import first, match, seems
from .opening import OpenedCheckpoint
from .recognise import Kind, recognise
from .sizes import described, nearest


def matched(
    opened: OpenedCheckpoint, family: Family | None, ema: bool | None, prediction: str | None
) -> tuple[Kind, dict[str, tuple[str, Source]]]:
    """What a checkpoint is, and where each of its parameters is, see `KeyMatch`."""
    kind = recognise(opened, family, prediction)
    family = known_family(opened, kind.family)
    if kind.few_steps is not None:
        warn(one_line(f"{opened.path.name} is {kind.few_steps}"))
    found = match(opened, family, kind.key_format, ema)
    found.check(opened)
    return replace(kind, family=family), found.sources


def known_family(opened: OpenedCheckpoint, family: Family | None) -> Family:
    if family is None:
        if (sizes := other_sizes(opened)) is not None:
            raise CheckpointError(
                f"{opened.path} is of no family that is known here: it is {sizes}"
            )
        known, meant = ", ".join(FAMILIES), seems(opened)
        raise CheckpointError(f"{opened.path} is of no family that is known here ({known}){meant}")
    return family


def other_sizes(opened: OpenedCheckpoint) -> str | None:
    """Which known family it is like, and what differs, if it is like one."""
    if (family := described(opened.weights)) is None:
        return None
    known, differs = nearest(family)
    return (
        f"like {known.name}, but {first(differs)}: give its family (--family, a JSON file; "
        "`ldm inspect --family_json` prints one to start from)"
    )


def wrong_merges(opened: OpenedCheckpoint, count: int, known: int) -> CheckpointError:
    """The error of merges that make so many tokens, where the text encoder knows others."""
    if opened.merges is None:
        return CheckpointError(
            f"{opened.path} has no tokenizer/ with merges: CLIP's make {count} tokens, "
            f"and its text encoder knows {known}"
        )
    if count < known and opened.container == "folder":
        names = opened.configs["tokenizer"].get(ADDED) or ["of no name"]
        return CheckpointError(
            f"{opened.path} has {known - count} added tokens ({first(names)}), which are not "
            "supported: take the model without them"
        )
    return CheckpointError(
        f"{opened.path} has damaged merges: they make {count} tokens, and not {known}"
    )

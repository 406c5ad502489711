"""Whether a model is known to know a word, and which it knows that are near."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from ..prompts.known import Known, read_known

if TYPE_CHECKING:
    from .model import LatentDiffusion

SHOWN = 10  # things that a line names


def known_by(model: LatentDiffusion) -> Known | None:
    """What is told beside the model's file; None if nothing is, or it has none."""
    from .about import Files
    from .loading import built_in

    if isinstance(model.about, Files):
        path = model.about.files["Model"].path if "Model" in model.about.files else built_in()
    else:
        path = built_in()
        if model.name != path.stem:
            return None
    return read_known(Path(path))


def advice(known: Known, lacking: list[str]) -> str:
    """ "; nearest: ...; it knows ..." """
    near = dict.fromkeys(name for word in lacking[:20] for name in known.nearest(word))
    things = [name.english[0] for name in known.all_things()]
    step = max(1, len(things) // SHOWN)
    shown = things if len(things) <= SHOWN else things[::step][:SHOWN]
    more = f", ... ({len(things)} in all)" if len(things) > len(shown) else ""
    nearest = textwrap.shorten(", ".join(near), 100, placeholder=" ...")
    told = f"; nearest: {nearest}" if near else ""
    return f"{told}; it knows {', '.join(shown)}{more}: see ldm vocabulary"

"""What is better known before hours of drawing than after them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from textwrap import shorten

from ..images.exif import fitting
from ..metadata import texts
from ..pipeline import Job, LatentDiffusion
from ..pipeline.fast import chosen
from ..prompts.lengths import chunk_sizes
from ..runtime.warn import warn
from .costs import large
from .help import DEFAULTS

MANY = 2e6  # pixels drawn at once, beyond which it takes long and much memory
LONGEST = {"webp": 16383, "jpg": 65500}  # sides of a file's picture, in pixels


def caveats(
    jobs: Sequence[Job], model: LatentDiffusion, options: argparse.Namespace
) -> Iterator[str]:
    """A line for each text too long to be read at once, and for what was not asked for or is not
    done, and for how memory is kept to. Warnings of large pictures, and of texts that the files
    will not hold; an error, where they cannot hold the picture."""
    if model.memory is not None:
        yield from model.memory.told.values()
    if getattr(options, "config", None) is not None:
        yield "--config is not read: a checkpoint says itself what it is"
    if model.fast:
        yield from dict.fromkeys(chosen(model, job) for job in jobs)
    own = DEFAULTS.get(getattr(options, "command", ""), {}).get("prompt")
    if not hasattr(options, "prompt") and any(own in job.prompts for job in jobs):
        yield f"no --prompt is given, and CompVis's default is drawn: {own!r}"
    for size, job in {job.size: job for job in jobs if job.request.tile is None}.items():
        if max(size) > 2 * model.family.size:
            warn(large(job, model))
    yield from untrained(jobs, model)
    sizes: dict[str, list[int]] = {}
    for job in jobs:
        given = job.prompts, job.negatives, model.tokenizer, job.chunking, job.passes[0].changes
        sizes |= chunk_sizes(*given)
    for text, tokens in sizes.items():
        if len(tokens) > 1:
            parts = " + ".join(map(str, tokens[:4])) + (" + ..." if tokens[4:] else "")
            what = f"{sum(tokens)} tokens, in {len(tokens)} chunks of {parts}"
            yield f"{what}: {shorten(text, 60)!r}"
    kind = getattr(options, "format", "png")
    for width, height in dict.fromkeys(job.size for job in jobs):
        if (longest := LONGEST.get(kind, max(width, height))) < max(width, height):
            what = f"{width} x {height} pixels do not fit into a {kind}"
            raise ValueError(f"{what}, whose sides have at most {longest}: give --format png")
    own = not hasattr(options, "width") and not hasattr(options, "height")
    drawn = [job.passes[0] for job in jobs if job.init is not None and job.request.tile is None]
    for width, height in dict.fromkeys((part.width, part.height) for part in drawn):
        if own and width * height > MANY:
            what = f"the picture is drawn at its own size, {width} x {height}"
            less = f"({width * height / 1e6:.1f} megapixels): give --W and --H for a smaller one"
            warn(f"{what} {less}")
    if kind == "jpg":
        made = [texts(one, model.name) for job in jobs for one in job.singles()]
        if long := sum(fitting(text) != text for text in made):
            what = f"the texts of {long} of {len(made)} pictures are too long for JPEG files"
            warn(f"{what}, which will lack some: give --format webp or png")


def untrained(jobs: Sequence[Job], model: LatentDiffusion) -> Iterator[str]:
    """A line for each size that is drawn from noise, and that SDXL was not trained at."""
    if model.family.size < 1024:
        return
    from ..pipeline.buckets import bucket_hint

    first = [job.passes[0] for job in jobs if job.init is None and job.request.tile is None]
    for size in dict.fromkeys((part.width, part.height) for part in first):
        if hint := bucket_hint(*size, model.family):
            yield hint

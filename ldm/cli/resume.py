"""resume: what was left by --pause_after, drawn to its end."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..pipeline import Job, LatentDiffusion
from ..pipeline.batches import draw as events
from ..pipeline.pause import Paused, read_paused
from .draw import open_model
from .output import Output


def resume(options: argparse.Namespace) -> None:
    """Go on with what was left by --pause_after, to the pictures."""
    output, model = Output(options), open_model(options)
    left = {path: read_paused(path) for path in options.files}
    jobs = [resumed(model, path, paused) for path, paused in left.items()]
    records = [paused.record for paused in left.values()]
    for job in output.batches(model, jobs):
        for event in events(model, job, record=records[jobs.index(job)]):
            output.take(event)


def resumed(model: LatentDiffusion, path: Path, paused: Paused) -> Job:
    if paused.model != model.name:
        raise ValueError(
            f"{path} was begun by the model {paused.model}, not {model.name}: give that one with "
            "--ckpt"
        )
    request = paused.request  # may come from anybody: no file that it names is opened
    held = {
        "image": paused.image,
        "mask": paused.mask,
        "depth": paused.depth,
        "wildcards": None,
        "refiner": None,
        "upscaler": None,
        "hires_upscaler": None,
    }
    named = [n for n in held if getattr(request, n) not in (None, "latent", "pixels")]
    if lacking := [n for n in named if held[n] is None]:
        raise ValueError(f"{path} names files and does not hold them: {', '.join(lacking)}")
    return model.resolve(request, paused.image, paused.mask, depth=paused.depth)

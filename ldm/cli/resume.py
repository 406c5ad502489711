"""resume: what was left by --pause_after, drawn to its end."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..metadata.named_files import FILES
from ..pipeline import Job, LatentDiffusion
from ..pipeline.batches import draw as events
from ..pipeline.pause import Paused, read_paused
from .draw import open_model
from .output import Output


def resume(options: argparse.Namespace) -> None:
    """Go on with what was left by --pause_after, to the pictures. Flags that are given replace what
    it holds."""
    files = {name: getattr(options, name) for name in FILES if hasattr(options, name)}
    left = {path: read_paused(path, **files) for path in options.files}
    output, model = Output(options), open_model(options)
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
    return paused.resolve(model)

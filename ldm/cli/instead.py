"""What is done with jobs instead of drawing their pictures: --dry_run and --pause_after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..clip.tokenizer import CLIP_SIZE
from ..pipeline import Job
from ..pipeline.caveats import tell_unlearnt
from ..pipeline.pause import Paused, pause, save_paused
from ..prompts.lengths import chunk_sizes
from .folder import Folder, next_number

if TYPE_CHECKING:
    from ..pipeline import LatentDiffusion
    from .output import Output


def instead(output: Output, jobs: Sequence[Job]) -> Iterator[object]:
    """Do it, line by line of what is said of it."""
    if not output.options.dry_run:
        for job in output.share(jobs):
            yield put_away(output.folder, pause(output.model, job, output.options.pause_after))
    elif output.leads:
        yield from planned(output, jobs)


def planned(output: Output, jobs: Sequence[Job]) -> Iterator[str]:
    """What would be drawn: the settings of each batch, its seeds, prompts and files. Warnings of
    words, as drawing them gives."""
    tell_words(output.model, jobs)
    for start, job in output.numbered(jobs):
        sigmas, asked = job.passes[0].sigmas, sum(part.steps for part in job.passes)
        cache = job.request.cache
        yield (
            f"{output.summary([job], [f'{job.steps} of {asked}'])}; "
            f"{len(sigmas)} sigmas from {sigmas[0]:.4g} to {sigmas[-1]:.4g}"
            + ("" if cache in (None, 1) else f"; cache {cache}")
        )
        for i, single in enumerate(job.request.split(1), start):
            file = "not saved" if output.options.skip_save else output.folder.sample(i)
            yield f"  {file}: seed {single.seed}, {single.prompt!r}"
    if not output.options.skip_grid:
        folder = output.folder.path
        grid = folder / f"grid-{next_number(folder, 'grid-'):04}.png"
        yield f"  {grid}: all of them"


def tell_words(model: LatentDiffusion, jobs: Sequence[Job]) -> None:
    """See `tell_unlearnt`."""
    texts: dict[str, list[int]] = {}
    for job in jobs:
        texts |= chunk_sizes(
            job.prompts, job.negatives, model.tokenizer, job.chunking, job.passes[0].changes
        )
    if jobs and len(model.tokenizer) < CLIP_SIZE and model.tokenizer.unusual(texts):
        tell_unlearnt(model, [*texts], jobs[0].chunking)


def put_away(folder: Folder, begun: Paused) -> Path:
    """paused-0000.safetensors ..."""
    return folder.save_next("paused-", ".safetensors", partial(save_paused, paused=begun))

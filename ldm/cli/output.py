"""What a person sees while pictures are drawn: a bar, lines, and files in a folder."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from textwrap import shorten
from typing import TYPE_CHECKING

from torch import Tensor

from ..images.sheets import grid, labelled_grid
from ..metadata import texts
from ..pipeline import Job, LatentDiffusion
from ..pipeline.batches import Event, Finished, Preview, Stepped
from ..pipeline.job import multiple
from ..pipeline.merging import merged
from ..pipeline.pause import pause
from ..prompts.conditioner import chunk_sizes
from ..request import Request
from ..runtime.device import peak_memory
from ..vae.preview import linear_preview
from .distributed import processes
from .folder import Folder
from .printing import say, unbroken
from .warn import warn_of

if TYPE_CHECKING:
    from PIL.Image import Image


class Output:
    """What a person sees of the events: a bar, lines, and files in a folder."""

    def __init__(self, options: argparse.Namespace, names: Sequence[str] = ()) -> None:
        """names: what the first files are called, instead of their numbers."""
        self.options, self.animate = options, getattr(options, "animate", False)
        self.folder = Folder(options.outdir, names, getattr(options, "format", "png"))
        every = getattr(options, "preview_every", None)
        self.saves_previews = every is not None
        self.preview_every: int | None = 1 if every is None and self.animate else every
        self.look: Callable[[Tensor], Tensor] | None = None
        self.ran: list[str] = []
        self.pictures: list[tuple[int, Image]] = []

    def batches(self, model: LatentDiffusion, jobs: Sequence[Job]) -> Iterator[Job]:
        """The jobs that this process is to draw, one after the other; before and after them what
        there is to say. With --dry_run and --pause_after there are none to draw."""
        self.model, self.began = model, time.perf_counter()
        with processes() as self.team:
            self.folder = self.team.agree(self.folder)
            if getattr(self.options, "dry_run", False):
                self.tell_plan(jobs)
                return
            if (steps := getattr(self.options, "pause_after", None)) is not None:
                for job in self.team.share(jobs):
                    say(self.folder.save_paused(pause(model, job, steps)))
                return
            if getattr(self.options, "preview", "vae") == "linear":
                grid = multiple(model.family)
                self.look = linear_preview(model.encode, model.decode, -(-128 // grid) * grid)
            self.tell_chunks(jobs)
            if self.team.rank == 0 and (self.folder.kind != "png" or jobs[0].init is not None):
                warn_of(jobs, model, self.options)
            for start, job in self.team.share(numbered(jobs)):
                self.begin(start, job)
                with self.bar:  # closed before anything is said of an error
                    yield job
            self.end(jobs)

    def begin(self, start: int, job: Job) -> None:
        """A batch begins, whose first picture is the start-th of this run."""
        from tqdm import tqdm

        self.start, self.job, self.taken = start, job, 0
        self.frames: dict[int, list[Image]] = {}
        total = None if job.passes[0].sampler.own_levels else max(job.steps, 1)
        quiet = self.team.rank > 0
        shown = {"desc": seeds(job), "total": total, "dynamic_ncols": True, "disable": quiet}
        self.bar = unbroken(sys.stderr, tqdm, **shown)

    def take(self, event: Event) -> None:
        match event:
            case Stepped():
                self.taken += 1
                unbroken(sys.stderr, self.bar.update)
            case Preview(index, steps, image):
                self.frames.setdefault(index, []).append(image)
                if self.saves_previews:
                    self.folder.save_preview(self.start + index, steps, image)
            case Finished(index, image, request):
                self.finish(index, image, request)

    def finish(self, index: int, image: Image, request: Request) -> None:
        """Save a picture, and its animation."""
        if not self.bar.disable and self.bar.n:
            unbroken(sys.stderr, self.bar.close)
        number = self.start + index
        if self.animate:
            frames = [*self.frames.get(index, []), image]
            say(self.folder.save_animation(number, frames))
        if not getattr(self.options, "skip_save", False):
            say(self.folder.save(number, image, texts(request, self.model.name)))
        if not getattr(self.options, "skip_grid", True):
            self.pictures.append((number, image))
        if index == 0:
            asked = sum(part.steps for part in self.job.passes)
            self.ran.append(f"{self.taken if self.job.steps else 0} of {asked}")

    def end(self, jobs: Sequence[Job]) -> None:
        """All batches are drawn: a grid of all pictures, and a line that sums up."""
        self.pictures = sorted(self.team.collect(self.pictures), key=lambda pair: pair[0])
        if self.team.rank > 0:
            return
        if self.pictures:
            singles = [single for job in jobs for single in job.request.split(1)]
            text = texts(
                (merged(singles, len(singles)) if len(singles) > 1 else singles)[0], self.model.name
            )
            images = [image for _, image in self.pictures]
            say(self.folder.save_grid(sheet(images, self.options), text))
        if not hasattr(self.options, "skip_grid"):
            return
        seconds, peak = time.perf_counter() - self.began, peak_memory(self.model.device) / 1e9
        say(f"{summary(self.model, jobs, self.ran)}; {seconds:.1f} s, at most {peak:.2f} GB")

    def tell_chunks(self, jobs: Sequence[Job]) -> None:
        """A line for each text too long to be read at once: the tokens of its chunks."""
        sizes: dict[str, list[int]] = {}
        for job in jobs if self.team.rank == 0 else ():
            texts = job.prompts, job.negatives
            steps = job.passes[0].changes
            sizes |= chunk_sizes(*texts, self.model.tokenizer, job.chunking, steps)
        for text, tokens in sizes.items():
            if len(tokens) > 1:
                parts = " + ".join(map(str, tokens))
                say(f"{sum(tokens)} tokens, in chunks of {parts}: {shorten(text, 60)!r}")

    def tell_plan(self, jobs: Sequence[Job]) -> None:
        """What would be drawn: the settings of each batch, its seeds, prompts and files."""
        for line in self.planned(jobs) if self.team.rank == 0 else ():
            say(line)

    def planned(self, jobs: Sequence[Job]) -> Iterator[str]:
        for start, job in numbered(jobs):
            sigmas, asked = job.passes[0].sigmas, sum(part.steps for part in job.passes)
            yield (
                f"{summary(self.model, [job], [f'{job.steps} of {asked}'])}; "
                f"{len(sigmas)} sigmas from {sigmas[0]:.4g} to {sigmas[-1]:.4g}"
            )
            for i, single in enumerate(job.request.split(1), start):
                file = "not saved" if self.options.skip_save else self.folder.sample(i)
                yield f"  {file}: seed {single.seed}, {single.prompt!r}"
        if not self.options.skip_grid:
            yield f"  {self.folder.grid()}: all of them"


def sheet(pictures: Sequence[Image], options: argparse.Namespace) -> Image:
    """All pictures in one: in rows, or in a grid over what was varied, whose cells have the
    pictures of a point."""
    columns = options.n_rows if options.n_rows > 0 else options.n_samples
    if not options.vary:
        return grid(pictures, columns)
    labels = [axis.labels for axis in options.vary]
    across, down = labels if len(labels) == 2 else (*labels, [""])
    each = len(pictures) // (len(across) * len(down))
    cells = [grid(pictures[i : i + each], columns) for i in range(0, len(pictures), each)]
    return labelled_grid(cells, across, down)


def summary(model: LatentDiffusion, jobs: Sequence[Job], ran: Sequence[str]) -> str:
    """What was drawn, in a line; settings that changed from batch to batch stand side by side."""

    def each(values: Iterator[object]) -> str:
        return " / ".join(dict.fromkeys(str(value) for value in values))

    count = sum(len(job.request.kept(job.seeds)) for job in jobs)
    size = each(f"{width} x {height}" for width, height in (job.size for job in jobs))
    return (
        f"{count} picture{'s' * (count > 1)} of {size} by {model.name} ({model.family.name}): "
        f"{each(job.request.sampler for job in jobs)}, {each(job.request.schedule for job in jobs)}"
        f", {each(iter(ran))} steps, scale {each(f'{job.guidance_scale:g}' for job in jobs)}, "
        f"seed {jobs[0].request.seed}"
    )


def seeds(job: Job) -> str:
    first, last = job.seeds[0], job.seeds[-1]
    return f"seed {first}" + (f" to {last}" if last > first else "")


def numbered(jobs: Sequence[Job]) -> list[tuple[int, Job]]:
    """Each job with the number of its first picture."""
    counts = (len(job.request.kept(job.seeds)) for job in jobs)
    return [*zip(accumulate(counts, initial=0), jobs)]

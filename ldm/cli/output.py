"""What a person sees while pictures are drawn: a bar, lines, and files in a folder."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from torch import Tensor

from ..metadata import texts
from ..pipeline import Job, LatentDiffusion
from ..pipeline.events import Event, Finished, Preview, Stepped
from ..pipeline.merging import merged
from ..request import Request
from ..runtime.device import peak_memory
from ..runtime.distributed import processes
from .caveats import caveats
from .folder import Folder
from .instead import instead
from .previews import Emerging, fast, sheet

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")


class Output:
    """What a person sees of the events: a bar, lines, and files in a folder."""

    def __init__(self, options: argparse.Namespace, names: Sequence[str] = ()) -> None:
        """names: what the first files are called, instead of their numbers."""
        self.options = options
        self.folder = Folder(options.outdir, names, getattr(options, "format", "png"))
        asked = getattr(options, "preview_every", None) or getattr(options, "animate", False)
        self.emerging = Emerging(options) if asked else None
        self.preview_every = None if self.emerging is None else self.emerging.every
        self.look: Callable[[Tensor], Tensor] | None = None
        self.ran: dict[int, str] = {}
        self.pictures: list[tuple[int, Image]] = []

    def batches(self, model: LatentDiffusion, jobs: Sequence[Job]) -> Iterator[Job]:
        """The jobs that this process is to draw, one after the other; before and after them what
        there is to say. With --dry_run and --pause_after there are none to draw."""
        self.model, self.began = model, time.perf_counter()
        asked = vars(self.options)
        with processes() if {"RANK", "WORLD_SIZE"} & {*os.environ} else nullcontext() as self.team:
            if self.team is not None:
                self.folder = self.team.agree(self.folder)
            if self.leads:
                say(f"device {model.device}, {model.dtype_reason}")
            room, side = model.tokenizer.length - 2, model.family.size
            long = any(len(t.encode()) > room for j in jobs for t in (*j.prompts, *j.negatives))
            odd = long or self.folder.kind != "png" or any(max(j.size) > 2 * side for j in jobs)
            odd = odd or "prompt" not in asked or asked["config"] is not None or model.fast
            if self.leads and (odd or jobs[0].init is not None or model.memory is not None):
                for line in caveats(jobs, model, self.options):
                    say(line)
            if asked.get("dry_run") or asked.get("pause_after"):
                for told in instead(self, jobs):
                    say(told)
                return
            if asked.get("preview", "vae") != "vae":
                self.look = fast(model, self.options)
            for start, job in self.share(self.numbered(jobs)):
                self.begin(start, job)
                with self.bar:  # closed before anything is said of an error
                    yield job
            self.end(jobs)

    @property
    def leads(self) -> bool:
        """Whether this process says what is to be said once."""
        return self.team is None or self.team.rank == 0

    def share(self, work: Sequence[T]) -> Sequence[T]:
        return work if self.team is None else self.team.share(work)

    def begin(self, start: int, job: Job) -> None:
        """A batch begins, whose first picture is the start-th of this run."""
        from tqdm import tqdm

        self.start, self.job, self.taken = start, job, 0
        if not isinstance(self.model.about, str):
            self.model.about.begin()
        total = None if job.passes[0].sampler.own_levels else max(job.steps, 1)
        shown = {"desc": seeds(job), "total": total, "dynamic_ncols": True}
        self.bar = unbroken(sys.stderr, tqdm, **shown, disable=not self.leads or None)

    def take(self, event: Event) -> None:
        match event:
            case Stepped():
                self.taken += 1
                unbroken(sys.stderr, self.bar.update)
            case Preview() if self.emerging is not None:
                self.emerging.take(self.folder, self.start, event)
            case Finished(index, image, request):
                self.finish(index, image, request)

    def finish(self, index: int, image: Image, request: Request) -> None:
        """Save a picture, and its animation."""
        if not self.bar.disable and self.bar.n:
            unbroken(sys.stderr, self.bar.close)
        number = self.start + index
        if self.emerging is not None and self.emerging.animates:
            say(self.emerging.animation(self.folder, number, image))
        if not getattr(self.options, "skip_save", False):
            text = texts(request, self.job.about(self.model, request))
            say(self.folder.save(number, image, text))
        if not getattr(self.options, "skip_grid", True):
            self.pictures.append((number, image))
        if index == 0:
            asked = sum(part.steps for part in self.job.passes)
            self.ran[self.start] = f"{self.taken if self.job.steps else 0} of {asked}"

    def end(self, jobs: Sequence[Job]) -> None:
        """All batches are drawn: a grid of all pictures, and a line that sums up."""
        pictures, ran, peaks = self.pictures, self.ran, [peak_memory(self.model.device)]
        if self.team is not None:
            pictures = sorted(self.team.collect(pictures), key=lambda pair: pair[0])
            ran = dict(sorted(self.team.collect([*ran.items()])))
            peaks = self.team.collect(peaks)
        if not self.leads:
            return
        if pictures:
            singles = [single for job in jobs for single in job.request.split(1)]
            whole = merged(singles, len(singles)) if len(singles) > 1 else singles
            text = texts(whole[0], jobs[0].about(self.model, whole[0]))
            images = [image for _, image in pictures]
            grid = sheet(images, self.options) if images[1:] or self.options.vary else images[0]
            say(self.folder.save_grid(grid, text))
        if not hasattr(self.options, "skip_grid"):
            return
        seconds, peak = time.perf_counter() - self.began, sum(peaks) / 1e9
        say(f"{self.summary(jobs, [*ran.values()])}; {seconds:.1f} s, at most {peak:.2f} GB")

    def summary(self, jobs: Sequence[Job], ran: Sequence[str]) -> str:
        """What was drawn, in a line; settings that changed between batches stand side by side."""

        def each(values: Iterator[object]) -> str:
            return " / ".join(dict.fromkeys(str(value) for value in values))

        model = self.model
        count = sum(len(job.request.kept(job.seeds)) for job in jobs)
        size = each(f"{width} x {height}" for width, height in (job.size for job in jobs))
        return (
            f"{count} picture{'s' * (count > 1)} of {size} by {model.name} ({model.family.name}): "
            f"{each(job.request.sampler for job in jobs)}, "
            f"{each(job.request.schedule for job in jobs)}, "
            f"{each(iter(ran))} steps, scale {each(f'{job.guidance_scale:g}' for job in jobs)}, "
            f"seed {jobs[0].request.seed}"
        )

    def numbered(self, jobs: Sequence[Job]) -> list[tuple[int, Job]]:
        """Each job with the number of its first picture."""
        counts = (len(job.request.kept(job.seeds)) for job in jobs)
        return [*zip(accumulate(counts, initial=0), jobs)]


def seeds(job: Job) -> str:
    first, last = job.seeds[0], job.seeds[-1]
    return f"seed {first}" + (f" to {last}" if last > first else "")


def say(text: object) -> None:
    unbroken(sys.stdout, print, text, flush=True)


def unbroken(stream: TextIO, act: Callable[..., T], *given: Any, **options: Any) -> T:
    """What a function gives that prints to a stream. Where nobody reads that any more, as behind
    `| head -1`, it prints to nowhere, and the drawing goes on."""
    try:
        return act(*given, **options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return act(*given, **options)

"""txt2img and img2img: from requests to files, with a bar of progress and a line that sums up."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..device import choose_device, choose_dtype, peak_memory
from ..families import Family
from ..images import grid, open_image, to_pil
from ..pause import read_paused
from ..pipeline import LatentDiffusion, load
from ..plan import noise_levels, passes
from ..preview import linear_preview
from ..programs import PROGRAMS
from ..prompts import chunk_sizes
from ..request import Request
from ..samplers import SAMPLERS
from ..sheets import labelled_grid
from .folder import Folder
from .pausing import go_on, pause
from .ranks import Ranks, own_gpu, ranks
from .wanted import batches

if TYPE_CHECKING:
    from PIL.Image import Image


def draw(options: argparse.Namespace, pictures: Sequence[Request]) -> None:
    """Draw and save pictures; `options` are those of `add_flags`."""
    for path in {path for picture in pictures for path in (picture.image, picture.mask) if path is not None}:
        open_image(path)
    names = () if options.indir is None else [Path(str(picture.image)).name for picture in pictures]
    folder = Folder(options.outdir, names if len(set(names)) == len(names) else (), options.format)
    model = open_model(options)
    parts = planned(model, pictures, options.n_samples)
    with ranks() as team:
        folder = team.agree(folder)
        if options.dry_run:
            for line in plan(model, parts, folder, options) if team.rank == 0 else []:
                print(line)
        elif options.pause_after is not None:
            for i, part in team.share(list(enumerate(parts))):
                print(pause(model, part, options.pause_after, folder, i))
        else:
            draw_all(model, parts, folder, options, team)


def draw_all(
    model: LatentDiffusion, parts: Sequence[Request], folder: Folder, options: argparse.Namespace, team: Ranks
) -> None:
    """Draw and save the pictures of settled batches, each process its share, and then a grid of all."""
    if team.rank == 0:
        for line in long_texts(model, parts):
            print(line)
    look = linear_preview(model) if options.preview == "linear" else model.decode
    began, drawn, ran = time.perf_counter(), [], []
    starts = accumulate((part.total for part in parts), initial=0)
    for start, part in team.share(list(zip(starts, parts))):
        made, steps = draw_batch(model, part, start, folder, look, options, quiet=team.rank > 0)
        ran.append(f"{steps} of {part.steps}")
        for i, (picture, its) in enumerate(zip(made, model.singles(part)), start):
            if not options.skip_save:
                print(folder.save(i, picture, model.metadata(its)))
            if not options.skip_grid:
                drawn.append((i, picture))
    drawn = sorted(team.collect(drawn), key=lambda pair: pair[0])
    if team.rank > 0:
        return
    if drawn:
        first = batches([picture for part in parts for picture in part.split(1)], len(drawn))[0]
        print(folder.save_grid(sheet([picture for _, picture in drawn], options), model.metadata(first)))
    print(
        f"{summary(model, parts, ran)}; "
        f"{time.perf_counter() - began:.1f} s, at most {peak_memory(model.device) / 1e9:.2f} GB"
    )


def resume(options: argparse.Namespace) -> None:
    """Go on with what was left by --pause_after, to the pictures."""
    folder, model = Folder(options.outdir), open_model(options)
    left = [read_paused(path) for path in options.files]
    starts = accumulate((paused.request.total for paused in left), initial=0)
    with ranks() as team:
        folder = team.agree(folder)
        for start, file, paused in team.share(list(zip(starts, options.files, left))):
            for path in go_on(model, file, paused, folder, start):
                print(path)


def long_texts(model: LatentDiffusion, parts: Sequence[Request]) -> Iterator[str]:
    """A line for each text too long to be read at once: the tokens of its chunks."""
    sizes = {text: tokens for part in parts for text, tokens in chunk_sizes(part, model.tokenizer).items()}
    for text, tokens in sizes.items():
        if len(tokens) > 1:
            yield f"{sum(tokens)} tokens, in chunks of {' + '.join(map(str, tokens))}: {shorten(text, 60)!r}"


def open_model(options: argparse.Namespace) -> LatentDiffusion:
    """The model, after a line that says where and in what numbers it will compute."""
    device = own_gpu(choose_device(options.device))
    name = "float32" if options.precision == "full" and options.dtype is None else options.dtype
    dtype, why = choose_dtype(device, None if name is None else getattr(torch, name))
    print(f"device {device}, {str(dtype).removeprefix('torch.')}: {why}")
    if options.config is not None:
        print("--config is not read: a checkpoint says itself what it is")
    model = load(options.ckpt, device, dtype, options.ema)
    for flag, given, own in (("--C", options.C, model.unet.config.in_channels), ("--f", options.f, model.vae.factor)):
        if given not in (None, own):
            raise ValueError(f"{flag} {given} does not fit the model {model.name}, which has {own}: leave it out")
    return model


def planned(model: LatentDiffusion, pictures: Sequence[Request], size: int) -> list[Request]:
    """The pictures in settled batches of at most `size`, or fewer if memory is short; what cannot be drawn is told."""
    parts = [model.settle(part)[0] for part in batches(pictures, size)]
    for part in parts:
        noise_levels(part, model.family)
    parts = [small for part in parts for small in part.split(min(size, model.batch_size(part)))]
    return list(continued(parts, model.family))


def continued(parts: Sequence[Request], family: Family) -> Iterator[Request]:
    """Settled batches; those whose seeds follow one another, by a program that seeds once in a run, share a stream."""
    seed = skip = after = -1
    for part in parts:
        draws = PROGRAMS[part.compat].draws
        if draws is None:
            yield part
            continue
        if part.seed != after:
            seed, skip = part.seed, part.skip
        yield replace(part, seed=seed, skip=skip)
        skip += draws(part.sampler, len(noise_levels(part, family)) - 1)
        after = part.seed + part.total


def draw_batch(
    model: LatentDiffusion,
    request: Request,
    start: int,
    folder: Folder,
    look: Callable[[Tensor], Tensor],
    options: argparse.Namespace,
    quiet: bool,
) -> tuple[list[Image], int]:
    """The pictures of a request, of which the first is the start-th of this run, and how many steps they took.

    With previews and animations on the way, if they are asked for; `look` decodes those.
    """
    from tqdm import tqdm

    levels = sum(len(noise_levels(part, model.family)) - 1 for part in passes(request, model.family))
    total = None if SAMPLERS[request.sampler].own_levels else max(levels, 1)
    every = options.preview_every if options.preview_every is not None else 1 if options.animate else None
    frames: list[list[Image]] = []
    for step in tqdm(model.steps(request), seeds(request), total, dynamic_ncols=True, disable=quiet):
        if every is not None and (step.index + 1) % every == 0:
            frames.append(to_pil(look(step.denoised)))
            if options.preview_every is not None:
                for i, preview in enumerate(frames[-1], start):
                    folder.save_preview(i, step.index + 1, preview)
    pictures = model.pictures(step.x, request)
    if options.animate:
        for i, each in enumerate(zip(*frames, pictures), start):
            print(folder.save_animation(i, each))
    return pictures, step.index + 1 if levels else 0


def sheet(pictures: Sequence[Image], options: argparse.Namespace) -> Image:
    """All pictures in one: in rows, or in a grid over what was varied, whose cells have the pictures of a point."""
    columns = options.n_rows if options.n_rows > 0 else options.n_samples
    if not options.vary:
        return grid(pictures, columns)
    labels = [axis.labels for axis in options.vary]
    across, down = labels if len(labels) == 2 else (*labels, [""])
    each = len(pictures) // (len(across) * len(down))
    cells = [grid(pictures[i : i + each], columns) for i in range(0, len(pictures), each)]
    return labelled_grid(cells, across, down)


def summary(model: LatentDiffusion, parts: Sequence[Request], ran: Sequence[str]) -> str:
    """What was drawn, in a line; settings that changed from batch to batch stand side by side."""

    def each(say: Callable[[Request], object]) -> str:
        return " / ".join(dict.fromkeys(str(say(part)) for part in parts))

    count = sum(part.total for part in parts)
    size = each(lambda part: f"{part.width} x {part.height}")
    return (
        f"{count} picture{'s' * (count > 1)} of {size} by {model.name} ({model.family.name}): "
        f"{each(lambda part: part.sampler)}, {each(lambda part: part.schedule)}, "
        f"{' / '.join(dict.fromkeys(ran))} steps, scale {each(lambda part: f'{part.scale:g}')}, seed {parts[0].seed}"
    )


def plan(model: LatentDiffusion, parts: Sequence[Request], folder: Folder, options: argparse.Namespace) -> list[str]:
    """What `draw` would do, in lines: the settings of each batch, its seeds, prompts and files."""
    lines, start = [], 0
    for part in parts:
        sigmas = noise_levels(part, model.family)
        lines.append(
            f"{summary(model, [part], [f'{len(sigmas) - 1} of {part.steps}'])}; "
            f"{len(sigmas)} sigmas from {sigmas[0]:.4g} to 0"
        )
        for i, its in enumerate(part.split(1), start):
            lines.append(f"  {'not saved' if options.skip_save else folder.sample(i)}: seed {its.seed}, {its.prompt!r}")
        start += part.total
    return lines if options.skip_grid else [*lines, f"  {folder.grid()}: all of them"]


def seeds(request: Request) -> str:
    return f"seed {request.seed}" + (f" to {request.seed + request.total - 1}" if request.total > 1 else "")

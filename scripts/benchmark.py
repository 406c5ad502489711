"""How long does it take, and how much memory, beside diffusers? The same random weights of Stable
Diffusion 1.5, 2 or XL, in one run, by turns.

    python scripts/benchmark.py
    python scripts/benchmark.py --device cuda --dtype float16 --peers channels_last compiled
    python scripts/benchmark.py --family sdxl --dtype bfloat16 --json sdxl.json --plot sdxl.svg
    python scripts/benchmark.py --only step decode --size 256 --repeats 3 --peers openvino
    python scripts/benchmark.py --only --growth growth.svg
    python scripts/benchmark.py --report                  # all that a GPU is asked, in 10 minutes

import    `import ldm`, and of diffusers' pipeline; each brings torch along, in a process of its
          own
load      from a single .safetensors file to a pipeline that is ready to draw, in a process of its
          own; its peak memory
step      the U-Net on a batch of two, and guidance
text      from a prompt to what the U-Net reads
encode    from a picture to the mean of its latent
decode    from a latent to a picture
picture   from a prompt to a picture of half the size, in four steps of DDIM
whole     from a prompt to a picture of the whole size, in --steps steps; only where it is named
lora      the step with a LoRA of rank 16 in all attention layers, and without; and how long it
          takes to read and to apply it. Nothing of this is diffusers'

Theirs is what StableDiffusionPipeline, or StableDiffusionXLPipeline, does without any option; with
--peers also diffusers with channels_last or compiled, and OpenVINO, for step and decode, and
stable-diffusion.cpp (`pip install cyllama`) for whole pictures, which are not the same. Every
number is the median of --repeats runs; one more before them does not count. Behind them stand the
largest difference between our result and theirs, and what a run takes of memory beyond what was
there before, of the GPU or of the process: ours and theirs.

--report measures SD 1.5 at 512 pixels and SDXL at 1024: step, decode and 50 steps with decode, in
float16 on a GPU; then how a step grows; then what pictures take where --vram holds them down.
What does not begin within --minutes is left out, and said. It writes report.json, report.svg and
report-growth.svg; --json, --plot and --growth name others.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking import figures
from benchmarking.computing import attention_lora, computations, pipeline_of, random_checkpoint
from benchmarking.growth import BATCHES, SIZES, Point, as_json, grown
from benchmarking.measuring import Row, by_turns, in_a_process, memory, processor, seconds
from benchmarking.peers import PEERS, installed, lacking
from benchmarking.vram import TARGETS, held_down
from torch import Tensor

import ldm
from ldm.layers import packed
from ldm.models.families import Family
from ldm.runtime.device import choose_device, choose_dtype
from ldm.runtime.formats import named

NAMES = ("import", "load", "step", "text", "encode", "decode", "picture", "whole", "lora")
USUAL = tuple(name for name in NAMES if name != "whole")
REPORT = (("sd1", 512), ("sdxl", 1024))  # families and pixels


def beginnings(
    kind: str, only: Sequence[str], file: Path, configs: Path, device: str, dtype: str, repeats: int
) -> Iterator[Row]:
    """The rows of what happens once in a process. kind: of diffusers' pipeline."""
    imports = "import torch, ldm", f"import torch; from diffusers import {kind}"
    if "import" in only:
        runs = [lambda code=code: in_a_process(code)[0] for code in imports]
        yield beside("import", "s", by_turns(runs, repeats)[:, 0])
    if "load" in only:
        loads = (
            f"ldm.load({str(file)!r}, {device!r}, {dtype})",
            f"{kind}.from_single_file({str(file)!r}, config={str(configs)!r}, "
            f"torch_dtype={dtype}, local_files_only=True).to({device!r})",
        )
        runs = [lambda code=code: in_a_process(*code)[1:] for code in zip(imports, loads)]
        found = by_turns(runs, repeats)
        yield beside("load", "s", found[:, 0])
        yield beside("memory", "GB", found[:, 1])


def beside(name: str, unit: str, found: Sequence[float]) -> Row:
    ours, theirs = map(float, found)
    return Row(name, unit, {"ldm": ours, "diffusers": theirs})


def compared(
    name: str, runs: dict[str, Callable[[], Tensor]], device: torch.device, repeats: int
) -> Row:
    """A task that peers do, the first of them ldm, the second diffusers."""
    first, second = (run().float() for run in list(runs.values())[:2])
    difference = float((first - second).abs().max())
    took = by_turns([partial(seconds, run, device) for run in runs.values()], repeats)[:, 0]
    most = {peer: memory(run, device) for peer, run in list(runs.items())[:2]}
    known = {peer: gigabytes for peer, gigabytes in most.items() if gigabytes is not None}
    return Row(name, "s", dict(zip(runs, map(float, took))), known, difference)


def lora_rows(
    model: ldm.LatentDiffusion, step: Callable[[], Tensor], path: Path, repeats: int
) -> Iterator[Row]:
    attention_lora(model, path)
    applied, measured = [], []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        with model.lora(path):
            applied.append(time.perf_counter() - start)
            with packed(model.unet):
                with_it = seconds(step, model.device)
        with packed(model.unet):
            measured.append((with_it, seconds(step, model.device)))
    with_it, without = map(float, np.median(measured[1:], axis=0))
    yield Row("lora", "s", {"ldm": with_it, "without": without})
    yield Row("applied", "s", {"ldm": float(np.median(applied[1:]))})


def benchmark(
    family: Family,
    only: Sequence[str],
    device: torch.device,
    dtype: torch.dtype,
    size: int,
    repeats: int,
    peers: Sequence[str] = (),
    steps: int = 50,
    also: Callable[[ldm.LatentDiffusion, Path], object] = lambda model, file: None,
) -> Iterator[Row]:
    """The rows of the table, each as soon as it is measured. also: done with the model and its
    file, at the end."""
    import diffusers

    kind = pipeline_of(family)
    with tempfile.TemporaryDirectory() as folder:
        file, configs = random_checkpoint(family, Path(folder), dtype)
        yield from beginnings(kind, only, file, configs, str(device), str(dtype), repeats)
        model = ldm.load(file, device, dtype)
        if {*only} - {"import", "load"}:
            pipe = getattr(diffusers, kind).from_single_file(
                str(file), config=str(configs), torch_dtype=dtype, local_files_only=True
            )
            pipe.to(device).set_progress_bar_config(disable=True)
            yield from tasks(model, pipe, only, size, repeats, peers, steps, file)
            del pipe
        also(model, file)


def tasks(
    model: ldm.LatentDiffusion,
    pipe: Any,
    only: Sequence[str],
    size: int,
    repeats: int,
    peers: Sequence[str],
    steps: int,
    file: Path,
) -> Iterator[Row]:
    """What a model does again and again. file: its own."""
    each = computations(model, pipe, size, steps=steps)
    others = {name: PEERS[name](pipe, model.dtype, file) for name in peers}
    done = {name: computations(model, pipe, size, peer, steps) for name, peer in others.items()}
    for name, (ours, theirs) in each.items():
        if name not in only:
            continue
        runs = {"ldm": torch.inference_mode()(ours), "diffusers": torch.no_grad()(theirs)}
        able = [who for who, peer in others.items() if peer.does(name)]
        runs |= {who: torch.no_grad()(done[who][name][1]) for who in able}
        with packed(model.unet) if name == "step" else nullcontext():  # as within a picture
            row = compared(name, runs, model.device, 1 if name == "whole" else repeats)
        yield row
    if "lora" in only:
        step = torch.inference_mode()(each["step"][0])
        yield from lora_rows(model, step, file.with_name("lora.safetensors"), repeats)


def report(
    families: Sequence[tuple[Family, int]],
    device: torch.device,
    dtype: torch.dtype,
    peers: Sequence[str],
    repeats: int,
    minutes: float,
    steps: int = 50,
    sizes: tuple[int, ...] = SIZES,
    batches: tuple[int, ...] = BATCHES,
) -> Iterator[Row | Point]:
    """All that --report measures; what does not begin in time is left out, and said."""
    end, points = time.monotonic() + 60 * minutes, list[Point | Row]()

    def more(model: ldm.LatentDiffusion, file: Path, family: Family, size: int) -> None:
        if family is families[0][0]:
            for point in grown(model, sizes, batches, size, repeats):
                points.append(point)
                if left_out("larger pictures and batches", end):
                    break
        model.to(device="cpu")  # what comes next has the GPU to itself
        if device.type == "cuda":
            torch.cuda.empty_cache()
        for name, wide, gigabytes in TARGETS:
            what = f"{name} {wide} in {gigabytes} GB"
            if name == family.name and not left_out(what, end):
                points.extend(held_down(file, name, wide, gigabytes, str(device)))

    for family, size in families:
        if left_out(family.name, end):
            continue
        only, also = ("step", "decode", "whole"), partial(more, family=family, size=size)
        for row in benchmark(family, only, device, dtype, size, repeats, peers, steps, also):
            row.name = f"{family.name} {size} {row.name}"
            yield row
        yield from points
        points.clear()


def left_out(what: str, end: float) -> bool:
    late = time.monotonic() > end
    if late:
        print(f"left out, as the time is over: {what}", file=sys.stderr)
    return late


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What the numbers depend on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    packages = ("torch", "diffusers", "transformers", "openvino")
    return {
        "device": str(device),
        "card": gpu,
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "dtype": named(dtype),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in packages if (found := installed(name))},
    }


def write(
    args: argparse.Namespace, about: dict[str, Any], rows: list[Row], points: list[Point]
) -> None:
    """The files that are asked for."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    note = f"{about['card'] or about['cpu']}, {about['dtype']}; {versions}"
    if args.json is not None:
        numbers = {"machine": about, "rows": [vars(row) for row in rows], "growth": as_json(points)}
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")
    if args.plot is not None:
        args.plot.write_text(figures.bars(rows, note))
    if args.growth is not None and points:
        args.growth.write_text(figures.growth(points, note))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--family", choices=["sd1", "sd2", "sdxl"], default="sd1", help="(default: sd1)")
    add("--device", help="cpu, cuda or mps (default: the best there is)")
    formats = ["float32", "bfloat16", "float16"]
    add("--dtype", choices=formats, help="(default: what suits the device)")
    add("--size", type=int, default=512, help="of the pictures, in pixels (default: 512)")
    add("--steps", type=int, default=50, help="of the row whole (default: 50)")
    add("--repeats", type=int, default=5, help="(default: 5)")
    add("--only", nargs="*", choices=NAMES, default=USUAL, metavar="NAME", help=", ".join(NAMES))
    add("--peers", nargs="+", choices=[*PEERS], default=[], help="who else is measured")
    add("--json", type=Path, metavar="FILE", help="all numbers, the machine and the versions")
    add("--plot", type=Path, metavar="FILE", help="the ratios as bars, SVG")
    add("--growth", type=Path, metavar="FILE", help="measure how a step grows; SVG")
    add("--report", action="store_true", help="all that a GPU is asked, see above")
    add("--minutes", type=float, default=9, help="after these --report begins nothing (default: 9)")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    os.environ |= {
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
    }
    device = choose_device(args.device)
    dtype, _ = choose_dtype(device, None if args.dtype is None else getattr(torch, args.dtype))
    for peer in args.peers:
        if (why := lacking(peer, device, dtype)) is not None:
            raise SystemExit(f"benchmark.py: error: {why}")
    rows, points = list[Row](), list[Point]()
    found: Iterator[Row | Point]
    if args.report:
        for name, end in (("json", ".json"), ("plot", ".svg"), ("growth", "-growth.svg")):
            if getattr(args, name) is None:
                setattr(args, name, Path(f"report{end}"))
        families = [(ldm.FAMILIES[name], size) for name, size in REPORT]
        how = args.peers, args.repeats, args.minutes, args.steps, SIZES, BATCHES
        found = report(families, device, dtype, *how)
    else:

        def also(model: ldm.LatentDiffusion, file: Path) -> None:
            if args.growth is not None:
                points.extend(grown(model, base=args.size, repeats=args.repeats))

        how = device, dtype, args.size, args.repeats, args.peers, args.steps, also
        found = benchmark(ldm.FAMILIES[args.family], args.only, *how)
    about = machine(device, dtype)
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    columns = f"{'ldm':>8}{'diffusers':>14}{'ratio':>10}{'difference':>12}{'memory':>11}"
    print(f"{'':10}{columns}{'theirs':>11}", flush=True)
    for one in found:
        if isinstance(one, Row):
            rows.append(one)
            print(one.lines(), flush=True)
        else:
            points.append(one)
    write(args, about, rows, points)
    for point in points:
        print(
            f"{point.size} px, {point.batch} at once: {point.seconds:.3f} s, "
            f"{point.teraflops:.2f} TFLOP, {point.teraflops / point.seconds:.1f} TFLOP/s"
        )


if __name__ == "__main__":
    main()

"""Write ldm/pipeline/fast.md: what each part of `--fast` saves, and what it costs.

    python scripts/fast_table.py
    python scripts/fast_table.py --count 20 --size 256 --steps 10 --out table.md

The time is of Stable Diffusion 1.5's U-Net with random weights; the rest of the built-in model.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking.computing import random_model
from benchmarking.measuring import processor

import ldm
from ldm.clip.tokenizer import Tokenizer
from ldm.conditioning import Conditioning
from ldm.layers import packed
from ldm.models.families import FAMILIES
from ldm.pipeline.fast import CACHE, GUIDED
from ldm.runtime.device import has_bfloat16
from ldm.training.shapes.evaluation import evaluate, score
from ldm.vae.taesd import TAESD

PAGE = Path(__file__).parent.parent / "ldm/pipeline/fast.md"
EXACT, HALF = torch.float32, torch.bfloat16
INTERVAL = {"guidance_interval": GUIDED}
ROWS: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "exact": (EXACT, {}),
    "`--dtype bfloat16`": (HALF, {}),
    "`--cache 2`": (EXACT, {"cache": 2}),
    "`--cache 3`": (EXACT, {"cache": 3}),
    "`--cache 5`": (EXACT, {"cache": 5}),
    f"`--guidance_interval {GUIDED[0]:g} {GUIDED[1]:g}`": (EXACT, INTERVAL),
    "`--fast`": (HALF, {"cache": CACHE, **INTERVAL}),
}

TEXT = """# What `--fast` does, measured

Written by `scripts/fast_table.py`, on {cpu}, {threads}, torch {torch}.

`--fast`, `ldm.load(fast=True)` and `txt2img(..., fast=True)` stand for the parts below, each of
which is an option of its own. What is given by itself is left as it is given. Pictures keep the
options in their metadata, so that `ldm replay` needs no `--fast`; the number format it does not
keep: give `--dtype bfloat16` again.

- **bfloat16** where the CPU has instructions for it (avx512_bf16, AMX). On CUDA half precision is
  the default anyway. It is of the model: `txt2img(..., fast=True)` leaves it as it was loaded.
- **`--cache N`**: the depth of the U-Net is computed in every N-th call of the denoiser only and
  held in between ([`unet/cached.py`](../unet/cached.py), Ma et al. 2023). `--fast` takes none below
  10 steps, as those of distilled models, nor with `dpm_adaptive`. A ControlNet still runs in every
  call. A prompt that changes on the way shows with the next whole call: with `[a|b]`, which changes
  in each step, an even N hardly shows b.
- **`--guidance_interval {low:g} {high:g}`**: no guidance at the lowest noise levels (Kynkäänniemi
  et al. 2024), so that those calls have half the rows. On a CPU such pictures are drawn one by one,
  as those without guidance are.
- **A TAESD**, if `--vae` gives one, decodes.

`--compile` is none of them: it takes minutes before it saves anything, and saves nothing on a CPU.

| | seconds a step | of exact | all right | PSNR |
|---|---|---|---|---|
{rows}

*Seconds a step*: one picture of {size} x {size} by the U-Net of Stable Diffusion 1.5 with random
weights, guided, averaged over {steps} steps of dpmpp_2m, karras. Where all steps cost the same, two
of them are timed.
*All right*: how many of {count} pictures of the built-in model have every attribute of their
prompt, see `scripts/evaluate.py`.
*PSNR*: of these pictures against the exact ones, on average.

Decoding a picture of {size} x {size}: {vae:.1f} s by the VAE, {tiny:.2f} s by a TAESD.
"""


def clock() -> float:
    """Seconds; of one thread those of the processor, which others that run do not lengthen."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def sd1() -> ldm.LatentDiffusion:
    """Of random weights."""
    made = random_model(FAMILIES["sd1"], EXACT)
    return ldm.LatentDiffusion(made.text, made.unet, made.vae, Tokenizer(), made.family)


def step_seconds(model: ldm.LatentDiffusion, size: int, steps: int, options: Any) -> float:
    """Of one picture, whose weights are packed before; the first of steps that cost the same does
    not count."""
    request = ldm.Request(
        width=size, height=size, steps=steps, sampler="dpmpp_2m", schedule="karras", **options
    )
    both = [Conditioning(torch.randn(1, 77, 768)) for _ in range(2)]
    stamps = [clock()]
    for step in model.steps(request, conditioning=both):
        stamps.append(clock())
        if not options and step.index == 2:
            stamps = stamps[1:]
            break
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1)


def drawn(model: ldm.LatentDiffusion, count: int, options: Any) -> tuple[float, Any]:
    """How many are all right, 0 to 1; and the pictures."""

    def generate(prompts: list[str]) -> Iterator[Any]:
        for part in ldm.Request(tuple(prompts), seed=0, **options).split(16):
            yield from map(np.asarray, model.generate(part, batch=16))

    results = evaluate(generate, count)
    right = score(results, "all")
    assert right is not None
    return right, np.stack([result.image for result in results]).astype(float)


def psnr(one: Any, other: Any) -> float:
    """In dB, the mean over pictures (N, H, W, 3) of 8 bits."""
    error = ((one - other) ** 2).mean((1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-4))))


@torch.no_grad()
def decode_seconds(model: ldm.LatentDiffusion, size: int) -> tuple[float, float]:
    """By the VAE, and by a TAESD."""
    latents = torch.randn(1, 4, size // 8, size // 8)
    found = []
    for vae in (model.vae, TAESD(replace(model.family.vae, channels=(64,) * 4))):
        vae.decode(latents[..., :8, :8])
        begun = clock()
        vae.decode(latents)
        found.append(clock() - begun)
    return found[0], found[1]


def cpu() -> str:
    return f"{processor() or 'a CPU'} {'with' if has_bfloat16() else 'without'} bfloat16"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="of the timed picture")
    parser.add_argument("--steps", type=int, default=20, help="of the timed picture")
    parser.add_argument("--count", type=int, default=200, help="prompts for the judge")
    parser.add_argument("--out", type=Path, default=PAGE, help="where the page goes")
    args = parser.parse_args()
    seconds, model = {}, sd1()
    vae, tiny = decode_seconds(model, args.size)
    for name, (dtype, options) in ROWS.items():
        model.unet.to(dtype)
        with packed(model.unet):
            seconds[name] = step_seconds(model, args.size, args.steps, options)
        model.unet.float()
        print(f"{name}: {seconds[name]:.2f} s a step", flush=True)
    del model
    rows, exact = [], None
    for name, (dtype, options) in ROWS.items():
        right, pictures = drawn(ldm.load(dtype=dtype), args.count, options)
        exact = pictures if exact is None else exact
        ratio = psnr(pictures, exact)
        like = "-" if math.isclose(ratio, psnr(exact, exact)) else f"{ratio:.1f} dB"
        part = seconds[name] / seconds["exact"]
        rows.append(f"| {name} | {seconds[name]:.2f} | {part:.2f} | {right:.1%} | {like} |")
        print(rows[-1], flush=True)
    threads = torch.get_num_threads()
    told = {
        "cpu": cpu(), "threads": "one thread" if threads == 1 else f"{threads} threads",
        "torch": torch.__version__, "low": GUIDED[0], "high": GUIDED[1], "rows": "\n".join(rows),
        "size": args.size, "steps": args.steps, "count": args.count, "vae": vae, "tiny": tiny,
    }  # fmt: skip
    args.out.write_text(TEXT.format(**told), encoding="utf-8")


if __name__ == "__main__":
    main()

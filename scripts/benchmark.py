"""How long does it take, beside diffusers? The same random weights of Stable Diffusion 1.5, 2 or
XL, in one run, by turns.

    python scripts/benchmark.py
    python scripts/benchmark.py --device cuda --dtype float16
    python scripts/benchmark.py --family sdxl --dtype bfloat16
    python scripts/benchmark.py --only step decode --size 256 --repeats 3

import    `import ldm`, and of diffusers' pipeline; each brings torch along, in a process of its
          own
load      from a single .safetensors file to a pipeline that is ready to draw, in a process of its
          own; its peak memory
step      the U-Net on a batch of two, and guidance
text      from a prompt to what the U-Net reads
encode    from a picture to the mean of its latent
decode    from a latent to a picture
picture   from a prompt to a picture of half the size, in four steps of DDIM
lora      the step with a LoRA of rank 16 in all attention layers, and without; and how long it
          takes to read and to apply it. Nothing of this is diffusers'

Theirs is what StableDiffusionPipeline, or StableDiffusionXLPipeline, does without any option. Every
number is the median of --repeats runs; one more before them does not count. The last column is the
largest difference between the two results.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

import ldm
from ldm.clip.model import TextEncoder
from ldm.layers import packed
from ldm.models.families import Family
from ldm.models.lora.extracting import kohya_names
from ldm.models.weights import Checkpoint, save
from ldm.pipeline.makers import completed
from ldm.runtime.device import choose_device, choose_dtype
from ldm.samplers import Guided, ModelDenoiser, cfg
from ldm.unet import UNet
from ldm.vae import VAE

NAMES = ("import", "load", "step", "text", "encode", "decode", "picture", "lora")
PROMPT = "a lighthouse at dusk, oil on canvas"
SCALE, T = 7.5, 500


def pipeline_of(family: Family) -> str:
    """The name of diffusers' class."""
    return f"StableDiffusion{'XL' if 'sizes' in family.conditioning else ''}Pipeline"


def random_checkpoint(family: Family, folder: Path, dtype: torch.dtype) -> tuple[Path, Path]:
    """A single file; and a folder with the configs that diffusers wants beside it, which it would
    else download."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    text = tuple(map(TextEncoder, family.text))
    model = Checkpoint(family, text, UNet(family.unet), VAE(family.vae))
    torch.set_default_dtype(torch.float32)
    file, configs = folder / "random.safetensors", folder / "configs"
    save(file, model, "compvis")
    save(configs, model, "diffusers")
    for weights in configs.rglob("*.safetensors"):
        weights.unlink()
    return file, configs


def in_a_process(imports: str, code: str = "") -> tuple[float, float, float]:
    """Seconds that the imports take, seconds that the code takes, and the most memory in use, in
    GB."""
    script = f"""
import resource, time
start = time.perf_counter()
{imports}
middle = time.perf_counter()
{code}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(middle - start, time.perf_counter() - middle, peak)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    imported, ran, peak = map(float, done.stdout.split()[-3:])
    return imported, ran, peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def by_turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int
) -> np.ndarray[Any, Any]:
    """The medians of two measurements, each one or several numbers. -> (2, numbers)"""
    measured = [(ours(), theirs()) for _ in range(1 + repeats)][1:]
    return np.median(np.reshape(measured, (repeats, 2, -1)), axis=0)


def beginnings(
    kind: str, only: list[str], file: Path, configs: Path, device: str, dtype: str, repeats: int
) -> Iterator[str]:
    """The rows of what happens once in a process. kind: of diffusers' pipeline."""
    imports = "import torch, ldm", f"import torch; from diffusers import {kind}"
    if "import" in only:
        ours, theirs = by_turns(
            *(lambda code=code: in_a_process(code)[0] for code in imports), repeats
        )
        yield row("import", "s", ours[0], theirs[0])
    if "load" in only:
        loads = (
            f"ldm.load({str(file)!r}, {device!r}, {dtype})",
            f"{kind}.from_single_file({str(file)!r}, config={str(configs)!r}, "
            f"torch_dtype={dtype}, local_files_only=True).to({device!r})",
        )
        runs = (lambda code=code: in_a_process(*code)[1:] for code in zip(imports, loads))
        ours, theirs = by_turns(*runs, repeats)
        yield row("load", "s", ours[0], theirs[0])
        yield row("memory", "GB", ours[1], theirs[1])


Runs = dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]


def computations(model: ldm.LatentDiffusion, pipe: Any, size: int) -> Runs:
    """What the two can be asked for, each with the same result."""
    generator, device, factor = torch.Generator().manual_seed(1), model.device, model.vae.factor
    latent = torch.randn(1, 4, size // factor, size // factor, generator=generator).to(device)
    image = (2 * torch.rand(1, 3, size, size, generator=generator) - 1).to(device)
    scale, schedule = model.family.vae.scale, model.family.noise_schedule()
    sigma = schedule.sigma(T)
    both = model.conditioning(["no", PROMPT])
    rows = [both[:1], both[1:]]
    told = None
    if "sizes" in model.family.conditioning:
        sizes = torch.tensor([[size, size, 0, 0, size, size]] * 2, device=device)
        told = {"text_embeds": both.vector, "time_ids": sizes}
        job = model.resolve(ldm.Request(PROMPT, negative="no", width=size, height=size))
        part = job.passes[0]
        rows = completed(model, job, part, job.noise(part, model.dtype))(rows, [0])
    core = ModelDenoiser(model.unet, schedule, model.family.prediction)
    denoise = Guided(core, rows, cfg(SCALE))
    both = both.context

    def their_step() -> Tensor:
        x = (latent / (1 + sigma**2) ** 0.5).to(both.dtype)
        raw = pipe.unet(torch.cat([x, x]), T, both, added_cond_kwargs=told, return_dict=False)[0]
        without, with_ = raw.chunk(2)
        return latent - sigma * (without + SCALE * (with_ - without))

    def our_picture() -> Tensor:
        picture = model.txt2img(
            PROMPT,
            sampler="ddim",
            schedule="leading",
            steps=4,
            guidance_scale=SCALE,
            seed=0,
            width=size // 2,
            height=size // 2,
        )
        return torch.tensor(np.array(picture[0]))

    def their_picture() -> Tensor:
        half = size // 2 // factor
        noise = torch.randn(1, 4, half, half, generator=torch.Generator().manual_seed(0))
        picture = pipe(
            PROMPT,
            height=size // 2,
            width=size // 2,
            num_inference_steps=4,
            guidance_scale=SCALE,
            latents=noise.to(device, both.dtype),
        )
        return torch.tensor(np.array(picture.images[0]))

    precision = pipe.vae.dtype
    return {
        "step": (lambda: denoise(latent, sigma), their_step),
        "text": (
            lambda: model.conditioning([PROMPT]).context,
            lambda: pipe.encode_prompt(
                PROMPT, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )[0],
        ),
        "encode": (
            lambda: model.encode(image),
            lambda: pipe.vae.encode(image.to(precision)).latent_dist.mode() * scale,
        ),
        "decode": (
            lambda: model.decode(latent),
            lambda: pipe.vae.decode(latent.to(precision) / scale).sample.clamp(-1, 1),
        ),
        "picture": (our_picture, their_picture),
    }


def attention_lora(model: ldm.LatentDiffusion, path: Path, rank: int = 16) -> None:
    """A random LoRA of all attention layers, in kohya's layout, float16."""
    tensors = {}
    for layer, name in kohya_names(model.family).items():
        network, _, inner = layer.partition(".")
        if "attn" in layer and network in ("unet", "text"):
            module = (model.unet if network == "unet" else model.text).get_submodule(inner)
            if isinstance(module, torch.nn.Linear):
                up, down = torch.randn(module.out_features, rank), torch.randn(rank, 1)
                tensors[f"{name}.lora_up.weight"] = 1e-3 * up.half()
                tensors[f"{name}.lora_down.weight"] = down.half().repeat(1, module.in_features)
                tensors[f"{name}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path)


def lora_rows(
    model: ldm.LatentDiffusion, step: Callable[[], Tensor], path: Path, repeats: int
) -> Iterator[str]:
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
    yield row("lora", "s", *np.median(measured[1:], axis=0))
    yield f"{'applied':10}{np.median(applied[1:]):8.3f} s"


def seconds(run: Callable[[], Tensor], device: torch.device) -> float:
    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    finish()
    start = time.perf_counter()
    run()
    finish()
    return time.perf_counter() - start


def row(name: str, unit: str, ours: float, theirs: float, difference: float | None = None) -> str:
    ending = "" if difference is None else f"{difference:12.1e}"
    return f"{name:10}{ours:8.3f} {unit:4}{theirs:8.3f} {unit:4}{ours / theirs:6.2f}{ending}"


def benchmark(
    family: Family,
    only: list[str],
    device: torch.device,
    dtype: torch.dtype,
    size: int,
    repeats: int,
) -> Iterator[str]:
    """The rows of the table, each as soon as it is measured."""
    import diffusers

    kind = pipeline_of(family)
    with tempfile.TemporaryDirectory() as folder:
        file, configs = random_checkpoint(family, Path(folder), dtype)
        yield from beginnings(kind, only, file, configs, str(device), str(dtype), repeats)
        if not {*only} - {"import", "load"}:
            return
        model = ldm.load(file, device, dtype)
        pipe = (
            getattr(diffusers, kind)
            .from_single_file(
                str(file), config=str(configs), torch_dtype=dtype, local_files_only=True
            )
            .to(device)
        )
        pipe.set_progress_bar_config(disable=True)
        runs_of = computations(model, pipe, size)
        for name, (ours, theirs) in runs_of.items():
            if name in only:
                ours, theirs = torch.inference_mode()(ours), torch.no_grad()(theirs)
                with packed(model.unet) if name == "step" else nullcontext():  # as within a picture
                    difference = (ours().float() - theirs().float()).abs().max()
                    runs = (partial(seconds, run, device) for run in (ours, theirs))
                    times = by_turns(*runs, repeats)
                yield row(name, "s", *times.flat, float(difference))
        if "lora" in only:
            step = torch.inference_mode()(runs_of["step"][0])
            yield from lora_rows(model, step, Path(folder) / "lora.safetensors", repeats)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--family", choices=["sd1", "sd2", "sdxl"], default="sd1", help="(default: sd1)"
    )
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="(default: what suits the device)",
    )
    parser.add_argument(
        "--size", type=int, default=512, help="of the pictures, in pixels (default: 512)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="(default: 5)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=NAMES,
        default=list(NAMES),
        metavar="NAME",
        help=", ".join(NAMES),
    )
    args = parser.parse_args()
    os.environ |= {
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
    }
    device = choose_device(args.device)
    dtype, _ = choose_dtype(device, None if args.dtype is None else getattr(torch, args.dtype))
    print(
        f"{args.family}, {device.type}, {dtype}, {args.size} px, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"{'':10}{'ldm':>8}{'diffusers':>14}{'ratio':>10}{'difference':>12}")
    for line in benchmark(
        ldm.FAMILIES[args.family], args.only, device, dtype, args.size, args.repeats
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""The flags of the commands that draw which are not fields of Request, in groups: how many pictures
there are, what is written, and which model draws. Each is what argparse is told of it; {iterations}
and {samples} are the command's own."""

import argparse
from pathlib import Path
from typing import Any

from ..runtime.checks import positive
from .values import KINDS, axis, family

Flags = dict[str, dict[str, Any]]

SAMPLES = {"txt2img": (2, 3), "img2img": (1, 2)}  # CompVis's n_iter and n_samples; others make one
ON: dict[str, Any] = {"action": "store_true"}
FILE: dict[str, Any] = {"type": Path, "metavar": "PATH"}

# fmt: off
INDIR: Flags = {"--indir": {"type": Path, "metavar": "DIR",
    "help": "inpaint each x.png in it that has an x_mask.png, to outdir/x.png"}}
COUNT: Flags = {
    "--from-file": {"type": Path, "metavar": "FILE",
        "help": "a prompt on each line, with flags of its own behind it"},
    "--vary": {"type": axis, "action": "append", "default": [], "metavar": "F=A,B",
        "help": "a grid over values of a flag; up to 2"},
    "--n_iter": {"type": positive, "metavar": "N",
        "help": "how often to sample (default: {iterations}; with --vary 1)"},
    "--n_samples": {"type": positive, "metavar": "N",
        "help": "how many at once (default: {samples}; with --vary 1)"},
    "--fixed_code": ON | {"help": "use the same seeds each time"},
    "--plms": ON | {"help": "means --sampler plms"},
    "--dpm_solver": ON | {"help": "means --sampler dpm_solver"},
}
WRITTEN: Flags = {
    "--outdir": {"type": Path, "metavar": "DIR",
        "help": "where the pictures go (default: %(default)s)"},
    "--format": {"choices": KINDS, "default": "png",
        "help": "of single pictures; jpg loses a little (default: png)"},
    "--skip_save": ON | {"help": "do not save single pictures"},
    "--skip_grid": ON | {"help": "do not save a grid of all pictures"},
    "--n_rows": {"type": int, "default": 0, "metavar": "N",
        "help": "pictures in a row of the grid (default: as n_samples)"},
    "--preview_every": {"type": positive, "metavar": "K",
        "help": "save the emerging pictures after every K-th step"},
    "--animate": ON | {"help": "save how each picture emerges as a GIF"},
    "--preview": {"choices": ("vae", "taesd", "linear"), "default": "vae",
        "help": "how these are decoded; linear is fast, taesd needs --taesd (default: vae)"},
    "--taesd": FILE | {"help": "a tiny autoencoder, for previews"},
    "--dry_run": ON | {"help": "say what would be done, and do nothing"},
    "--pause_after": {"type": positive, "metavar": "K",
        "help": "stop after K steps, in a file that `ldm resume` goes on from"},
}
MODEL: Flags = {
    "--ckpt": FILE | {"help": "a checkpoint or a diffusers folder (default: the built-in model)"},
    "--family": {"type": family, "metavar": "NAME",
        "help": "what the checkpoint is, where it does not tell: a family, or a JSON file of one"},
    "--prediction": {"choices": ("eps", "v"),
        "help": "what its U-Net predicts, where the checkpoint says nothing, or what is wrong"},
    "--ema": {"action": argparse.BooleanOptionalAction,
        "help": "use the averaged weights (default: if there are any)"},
    "--vae": FILE | {"help": "another VAE, or a TAESD (default: its own)"},
    "--fast": ON | {"help": "bfloat16 if this CPU has it, and, of 10 steps or more, --cache 3 and "
        "--guidance_interval 0.28 10000: what of them is not given otherwise"},
    "--compile": ON | {"help": "let torch.compile fuse the U-Net's blocks: the first step takes "
        "minutes, or seconds once they are on the disk; for GPUs: a CPU is slower with it"},
    "--device": {"help": "cpu, cuda, cuda:1 or mps (default: the best there is)"},
    "--dtype": {"choices": ("float32", "float16", "bfloat16"),
        "help": "of the networks (default: what suits the device)"},
    "--vram": {"type": float, "metavar": "GB",
        "help": "keep to so much memory of the GPU: parts of the model wait, the VAE works in tiles"
                " (default: as if there was enough)"},
    "--ram": {"type": float, "metavar": "GB",
        "help": "keep to so much memory on a CPU (default: as if there was enough)"},
    "--precision": {"choices": ("full", "autocast"), "default": "autocast",
        "help": "full means --dtype float32 (default: autocast)"},
    "--config": {"metavar": "FILE",
        "help": "is not read: a checkpoint says itself what it is"},
    "--C": {"type": int, "metavar": "N", "help": "is checked: the channels of a latent"},
    "--f": {"type": int, "metavar": "N",
        "help": "is checked: how much smaller a latent is than a picture, often 8"},
    "--laion400m": ON | {"help": "is refused: that is another model"},
}
# fmt: on

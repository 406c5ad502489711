"""extract-lora and lora-merge: LoRAs made of models, of each other, and a part of models."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..models.lora.combining import merge_into, merge_loras
from ..models.lora.extracting import extract_lora
from ..request.additions import file_and_strengths
from ..runtime.checks import positive
from .flags import Parser
from .output import say
from .values import family

DTYPES = ("float16", "bfloat16", "float32")


def add_common(parser: Parser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="what is written: *.safetensors")
    add("--family", type=family, metavar="NAME", help="of the model, where it does not tell")
    add("--dtype", choices=DTYPES, default="float16", help="of a LoRA (default: float16)")


def add_extract(parser: Parser) -> None:
    parser.add_argument("tuned", type=Path, metavar="MODEL", help="a fine-tuned checkpoint")
    parser.add_argument("base", type=Path, metavar="BASE", help="the one that it comes from")
    told = "of each layer (default: 32)"
    parser.add_argument("--rank", type=positive, default=32, metavar="N", help=told)
    add_common(parser)


def extract(options: argparse.Namespace) -> None:
    dtype = getattr(torch, options.dtype)
    models = options.tuned, options.base
    found = extract_lora(*models, options.out, options.rank, dtype, options.family)
    say(f"{found.path}: {found.layers} layers, {found.kept:.1%} of the squared difference")


def add_lora_merge(parser: Parser) -> None:
    add = parser.add_argument
    add("loras", nargs="+", metavar="FILE:0.8", help="LoRAs with their strengths, as of --lora")
    add("--ckpt", type=Path, metavar="PATH", help="merge them into this checkpoint")
    told = "bring each layer to this rank (default: exact; ranks add up)"
    add("--rank", type=positive, metavar="N", help=told)
    add("--compat", metavar="NAME", help="whose rule for DoRA at other strengths than 1")
    add_common(parser)


def lora_merge(options: argparse.Namespace) -> None:
    entries = [file_and_strengths(entry) for entry in options.loras]
    if options.ckpt is None:
        count = merge_loras(entries, options.out, options.rank, getattr(torch, options.dtype))
        say(f"{options.out}: {count} layers of {len(entries)} LoRAs")
        return
    given = options.family, options.compat
    count = merge_into(options.ckpt, entries, options.out, *given)
    say(f"{options.out}: {count} weights of {options.ckpt} changed by {len(entries)} LoRAs")

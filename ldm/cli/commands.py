"""The commands that work on files there are already, and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from ..metadata.named_files import FILES
from ..request import Request
from ..runtime.checks import positive
from .enlarge import add_enlarge, enlarge
from .flags import Parser, add_model_flags, add_request_flags, argument
from .lora_tools import add_extract, add_lora_merge, extract, lora_merge
from .replay import replay
from .resume import resume
from .score import add_describe, add_score, describe, score
from .show import marks, report, show
from .tools import add_convert, add_merge, add_prune, converted, merged
from .values import KINDS, family
from .vocabulary import add_vocabulary, vocabulary


class Command(NamedTuple):
    about: str
    fill: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int | None]


def add_files(parser: Parser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")


def add_drawing(parser: Parser, outdir: str) -> None:
    """Files that pictures are drawn from."""
    add_files(parser)
    told = "where the pictures go (default: %(default)s)"
    parser.add_argument("--outdir", type=Path, default=Path(outdir), help=told)
    add_model_flags(parser)


def add_resume(parser: Parser) -> None:
    """Files that it names and does not hold are given anew."""
    add_drawing(parser, "outputs/resumed")
    for f in fields(Request):
        if f.name in FILES:
            flags, given = f.metadata["flags"], argument(f)
            parser.add_argument(*flags, dest=f.name, default=argparse.SUPPRESS, **given)


def add_replay(parser: Parser) -> None:
    """What is given replaces what a file says."""
    add_drawing(parser, "outputs/replayed")
    add_request_flags(parser, from_image=True)
    alone = "draw from noise what was made from a picture, which is not in the file"
    parser.add_argument("--without_image", action="store_true", help=alone)
    told = "of the pictures (default: that of the file)"
    parser.add_argument("--format", choices=KINDS, help=told)


def add_watermark(parser: Parser) -> None:
    add_files(parser)
    told = "read any text of N letters instead"
    parser.add_argument("--length", type=positive, metavar="N", help=told)


def add_inspect(parser: Parser) -> None:
    parser.add_argument("file", type=Path)
    told = "compare with this family, or JSON file"
    parser.add_argument("--family", type=family, metavar="NAME", help=told)
    parser.add_argument("--prediction", choices=("eps", "v"), help="what its U-Net predicts")
    told = "print its family, or what its shapes tell of one, as a file for --family"
    parser.add_argument("--family_json", action="store_true", help=told)
    parser.add_argument("--verify", action="store_true", help="compute the checksums, too")


REPLAY = "make pictures again from what their files say: ours, A1111's or ComfyUI's"
COMMANDS = {
    "resume": Command("go on with what --pause_after left", add_resume, resume),
    "replay": Command(REPLAY, add_replay, replay),
    "show": Command("what the files of pictures say of their making", add_files, show),
    "watermark": Command("which invisible watermark pictures have", add_watermark, marks),
    "score": Command("which texts fit pictures, and which pictures texts", add_score, score),
    "describe": Command("a prompt for a picture, of the words that fit it", add_describe, describe),
    "vocabulary": Command(
        "what a model knows: things, styles, colours", add_vocabulary, vocabulary
    ),
    "inspect": Command("what a checkpoint is, without loading it", add_inspect, report),
    "enlarge": Command("pictures made larger without a prompt", add_enlarge, enlarge),
    "merge": Command("two models, or two and the one they come from, as one", add_merge, merged),
    "convert": Command("a model in another layout or number format", add_convert, converted),
    "prune": Command("a model without what is not needed to draw", add_prune, converted),
    "extract-lora": Command("what a fine-tuned model has learnt, as a LoRA", add_extract, extract),
    "lora-merge": Command("several LoRAs in one, or in a checkpoint", add_lora_merge, lora_merge),
}

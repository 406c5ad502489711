"""score and describe: what CLIP says of pictures and texts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..pipeline.scoring import Scorer, load_clip
from ..runtime.checks import positive
from .flags import Parser
from .output import say
from .printing import complain, one_line, printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def add_clip_flags(parser: Parser) -> None:
    add = parser.add_argument
    told = "a whole CLIP: a file or folder of OpenAI's, OpenCLIP's or transformers' (required)"
    add("--clip", type=Path, metavar="PATH", help=told)
    told = "of its layers, where neither its config nor its name says it"
    add("--activation", choices=("quick_gelu", "gelu"), help=told)
    add("--device", help="cpu, cuda, cuda:1 or mps (default: the best there is)")


def add_score(parser: Parser) -> None:
    told = "pictures, folders of them, and texts, in any order"
    parser.add_argument("words", nargs="+", metavar="PICTURE|TEXT", help=told)
    told = "how many to name of each ranking (default: %(default)s)"
    parser.add_argument("--top", type=positive, default=10, metavar="N", help=told)
    add_clip_flags(parser)


def add_describe(parser: Parser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="PICTURE")
    told = "how many phrases a prompt has at most (default: %(default)s)"
    parser.add_argument("--phrases", type=positive, default=8, metavar="N", help=told)
    add_clip_flags(parser)


def scorer(options: argparse.Namespace) -> Scorer:
    if options.clip is None:
        raise ValueError(
            "no CLIP comes with this library: give the path of one, --clip ViT-L-14.pt, or a "
            "folder like that of openai/clip-vit-large-patch14"
        )
    return load_clip(options.clip, options.device, torch.float32, options.activation)


def score(options: argparse.Namespace) -> int:
    """Rank the texts of each picture, and the pictures of each text."""
    pictures, texts = sorted_out(options.words)
    model, code = scorer(options), 0
    vectors, there = [], []
    for path in pictures:
        try:
            vectors.append(model.of_pictures([path]))
            there.append(path)
        except (ValueError, OSError) as error:
            complain(f"ldm score: error: {one_line(str(error))}")
            code = 1
    if not there:
        raise ValueError("none of the pictures can be read: give others")
    similarity = torch.cat(vectors) @ model.of_texts(texts).T  # (pictures, texts)
    if len(texts) > 1 or len(there) == 1:
        for path, row, shares in zip(there, similarity, model.shares(similarity)):
            ranking(str(path), texts, row, options.top, shares)
    if len(there) > 1:
        for text, column in zip(texts, similarity.T):
            ranking(repr(text), [str(path) for path in there], column, options.top)
    return code


def sorted_out(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Which of these are pictures, also those in folders, and which are texts. ValueError: there is
    none of one kind, or a picture that is named is not there."""
    pictures: list[Path] = []
    texts: list[str] = []
    for word in words:
        path = Path(word)
        if exists(path) and path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"there is no picture in the folder {word}")
            pictures += inside
        elif exists(path):
            pictures.append(path)
        elif word.lower().endswith(SUFFIXES):
            raise ValueError(f"there is no picture {word!r}")
        else:
            texts.append(word)
    if not pictures or not texts:
        lacking = "a text" if pictures else "a picture or a folder of pictures"
        raise ValueError(f'give {lacking}, too: ldm score picture.png "a cat" "a dog"')
    return pictures, texts


def exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text may be too long for a path, or hold what no path can
        return False


def ranking(
    of: str, names: Sequence[str], similarity: Tensor, top: int, shares: Tensor | None = None
) -> None:
    """Print the best: the share, if there is one, the cosine and the name."""
    say(printable(f"{of}:"))
    for i in similarity.argsort(descending=True, stable=True)[:top].tolist():
        share = "" if shares is None else f"{shares[i]:7.1%} "
        say(printable(f"  {share}{similarity[i]:7.4f}  {names[i]}"))


def describe(options: argparse.Namespace) -> int:
    """Print a prompt for each picture, and of each list the phrases that fit it best."""
    model, code = scorer(options), 0
    for path in options.files:
        try:
            found = model.describe(path, options.phrases)
        except (ValueError, OSError) as error:
            complain(f"ldm describe: error: {one_line(str(error))}")
            code = max(code, 1 if path.is_file() else 2)
            continue
        say(printable(f"{path}: {found.prompt}"))
        for name, best in found.best.items():
            those = ", ".join(f"{phrase} ({value:.3f})" for phrase, value in best[:3])
            say(f"  {name}: {those}")
    return code

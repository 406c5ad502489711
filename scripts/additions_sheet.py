"""A LoRA, an embedding and a ControlNet for the built-in model on one sheet: pictures without and
with each. scripts/build_shapes.py and scripts/train.py make the three:

python scripts/additions_sheet.py --lora runs/outlines/lora.safetensors \\
    --embedding runs/teal/teal.safetensors --control runs/anywhere/controlnet.safetensors
"""

import argparse
import os
from pathlib import Path

from PIL import Image

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does

import ldm
from ldm.cli import prepare_streams
from ldm.images.files import to_tensor
from ldm.images.hints import HINTS
from ldm.images.saving import to_pil
from ldm.images.sheets import labelled_grid, stacked
from ldm.training.shapes.scenes import Placed, Thing, backdrop, paint

Row = list[tuple[str, Image.Image]]  # pictures under labels
OUTLINED = (
    "a large red heart on a yellow background",
    "a large white triangle above a small blue square, on a green background",
)
NAMING = (
    "a {} on a blue background",
    "a {} above a small green cross, on a purple background",
    "a small white star to the left of a {}, on a red background",
)
HINTED = (  # things where the model puts none, of a size that it has none of
    Placed(Thing("heart", "gray", "large"), 0.32, 0.66, 0.27),
    Placed(Thing("cross", "gray", "large"), 0.74, 0.28, 0.19),
)
FOLLOWING = ("a red heart on a yellow background", "a green cross on a pink background")


def with_lora(model: ldm.LatentDiffusion, lora: Path, seed: int) -> Row:
    """Two prompts at three strengths."""
    return [
        (label, model.txt2img(prompt, seed=seed, lora=f"{lora}:{strength}")[0])
        for prompt in OUTLINED
        for label, strength in ((f"{prompt}: LoRA at 0", 0), ("at 0.5", 0.5), ("at 1", 1))
    ]


def with_embedding(model: ldm.LatentDiffusion, embedding: Path, seed: int) -> Row:
    """Three prompts with the word, without the embedding and with it."""
    found: Row = []
    for prompt in (prompt.format(embedding.stem) for prompt in NAMING):
        found.append((f"{prompt}: without", model.txt2img(prompt, seed=seed)[0]))
        asked = {"embedding_dir": str(embedding.parent)}
        found.append(("with the embedding", model.txt2img(prompt, seed=seed, **asked)[0]))
    return found


def with_control(model: ldm.LatentDiffusion, control: Path, hint: str, seed: int) -> Row:
    """Two hints, each with what a prompt gives without it and with it."""
    found: Row = []
    for placed, prompt in zip(HINTED, FOLLOWING, strict=True):
        picture = displaced(placed, model.family.size)
        made = HINTS[hint]((to_tensor(picture) + 1) / 2)
        asked = {"control": str(control), "control_image": picture, "hint": hint}
        found.append((f"{prompt}: without", model.txt2img(prompt, seed=seed)[0]))
        found.append((f"the hint, {hint}", to_pil(2 * made - 1)[0]))
        found.append(("with the ControlNet", model.txt2img(prompt, seed=seed, **asked)[0]))
    return found


def displaced(placed: Placed, size: int) -> Image.Image:
    """A thing where the built-in model puts none. (size, size, 3)"""
    canvas = backdrop("white", size)
    paint(canvas, placed)
    return Image.fromarray(canvas.clip(0, 255).astype("uint8"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lora", type=Path, help="of --lora of scripts/train.py")
    parser.add_argument("--embedding", type=Path, help="of --embedding")
    parser.add_argument("--control", type=Path, help="of --control")
    parser.add_argument("--hint", default="edges", help="of the control (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("additions.png"))
    prepare_streams()
    options = parser.parse_args()
    model, rows = ldm.load(), []
    if options.lora:
        rows.append(with_lora(model, options.lora, options.seed))
    if options.embedding:
        rows.append(with_embedding(model, options.embedding, options.seed))
    if options.control:
        rows.append(with_control(model, options.control, options.hint, options.seed))
    if not rows:
        parser.error("give at least one of --lora, --embedding and --control")
    grids = []
    for row in rows:
        labels, images = zip(*row, strict=True)
        shown = [image.resize((128, 128), Image.Resampling.NEAREST) for image in images]
        grids.append(labelled_grid(shown, labels))
    stacked(grids).save(options.out)
    print(options.out)


if __name__ == "__main__":
    main()

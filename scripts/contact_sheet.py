"""Every pass on one sheet: what each makes of one picture.

python scripts/contact_sheet.py --out passes.png
python scripts/contact_sheet.py --ckpt v1-5.safetensors --prompt "a red door" --repaint "a blue
door"
"""

import argparse
import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does

import ldm
from ldm.cli import prepare_streams
from ldm.images.sheets import grid, labelled_grid, stacked


def passes(
    model: ldm.LatentDiffusion, prompt: str, repaint: str, seed: int
) -> dict[str, Image.Image]:
    """A label and a picture for each pass. The first picture is what the others start from."""
    side = model.family.size
    margin = max(8, side // 32 * 8)
    (picture,) = model.txt2img(prompt, seed=seed)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).rectangle((0, 0, side - 1, side // 2), fill=255)
    loose = prompt.partition(",")[0]  # a variation shows in what the prompt leaves open
    grey = picture.convert("L").convert("RGB")
    (joined,) = model.txt2img(prompt, seed=seed, seamless="xy")
    options = {"seed": seed + 1}
    sides = {
        "left": margin,
        "right": margin,
        "mask_blur": margin // 2,
        "guidance_scale": 1,
    }  # nothing of the prompt is there
    return {
        "text to picture": picture,
        "the mask": mask.convert("RGB"),
        "inpaint": model.inpaint(repaint, picture, mask, **options)[0],
        "inpaint, soft edge": model.inpaint(
            repaint, picture, mask, mask_blur=side // 16, **options
        )[0],
        "outpaint": model.outpaint(prompt, picture, **sides, **options)[0],
        "picture to picture, 0.6": model.img2img(repaint, picture, 0.6, **options)[0],
        "hires x 2": model.txt2img(prompt, seed=seed, hires=2)[0],
        "enlarge x 3 in tiles": model.img2img(prompt, picture, upscale=3, **options)[0],
        "seamless, four times": grid([joined] * 4, 2, padding=0),
        "the picture, grey": grey,
        "colourise": model.img2img(prompt, grey, 1.0, colourise=True, **options)[0],
        "a loose prompt": model.txt2img(loose, seed=seed)[0],
        "its variation 0.5": model.txt2img(
            loose, seed=seed, subseed_strength=0.5, subseed=seed + 1
        )[0],
        "the seed, wider": model.txt2img(
            prompt, seed=seed, width=side + 2 * margin, seed_resize_from=(side, side)
        )[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Every pass on one sheet.")
    parser.add_argument(
        "--ckpt", type=Path, help="a checkpoint or a diffusers folder (the built-in model)"
    )
    parser.add_argument(
        "--prompt",
        default="a large red heart above a small blue square, on a yellow background",
        help="what to draw",
    )
    parser.add_argument(
        "--repaint",
        default="a large green star above a small blue square, on a yellow background",
        help="what its upper half becomes",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cell", type=int, default=160, help="of a picture on the sheet, in pixels"
    )
    parser.add_argument("--out", type=Path, default=Path("passes.png"))
    prepare_streams()
    options = parser.parse_args()
    made = passes(ldm.load(options.ckpt), options.prompt, options.repaint, options.seed)
    shown = [ImageOps.contain(image, (options.cell, options.cell)) for image in made.values()]
    labels = list(made)
    rows = [labelled_grid(shown[i : i + 5], labels[i : i + 5]) for i in range(0, len(shown), 5)]
    stacked(rows).save(options.out)
    print(options.out)


if __name__ == "__main__":
    main()

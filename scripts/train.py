"""Train a latent diffusion model, from nothing.

    python scripts/train.py --outdir runs/shapes64                         the model that comes with the library
    python scripts/train.py --outdir runs/mine --data pictures/            on a folder of pictures with captions
    python scripts/train.py --outdir runs/quick --set unet.steps=500 --set scenes=2000

Killed, it goes on where it was when the same command is given again. It ends with OUTDIR/model.safetensors, which
every other script takes as --ckpt.
"""

import argparse
import sys
from pathlib import Path

from ldm.device import choose_device
from ldm.training.data import Folder, Scenes
from ldm.training.recipes import RECIPES, changed
from ldm.training.run import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outdir", type=Path, required=True, help="where everything is written")
    parser.add_argument("--recipe", default="shapes64", choices=RECIPES, help="(default: %(default)s)")
    parser.add_argument("--data", type=Path, help="x.png + x.txt, or metadata.jsonl (default: procedural scenes)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a part of the recipe")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    parser.add_argument("--autocast", action="store_true", help="compute in bfloat16 where that is safe")
    parser.add_argument("--compile", action="store_true", help="let torch.compile fuse the U-Net")
    args = parser.parse_args()
    try:
        recipe = changed(RECIPES[args.recipe], args.set)
        size = recipe.family.size
        data = Folder(args.data, size) if args.data else Scenes(recipe.scenes, size, recipe.vae.seed)
        print(run(recipe, data, args.outdir, choose_device(args.device), args.autocast, args.compile))
    except (ValueError, FloatingPointError) as error:
        sys.exit(f"train.py: error: {error}")


if __name__ == "__main__":
    main()

"""Train a latent diffusion model, from nothing or from another.

python scripts/train.py --outdir runs/shapes64                     the model of the library
python scripts/train.py --outdir runs/mine --data pictures/        on pictures with captions
python scripts/train.py --outdir runs/things64 --recipe things64   on the pictures of things that
                                         scripts/build_pictures.py makes
python scripts/train.py --outdir runs/mine --data pictures/ --init built-in
                                         teach a model one's own pictures, in minutes
python scripts/train.py --outdir runs/quick --set unet.steps=500 --set scenes=2000

Killed, it goes on where it was when the same command is given again. It ends with
OUTDIR/model.safetensors, which every other script takes as --ckpt.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

# The rest is imported within `train`: torch takes seconds to load, and Ctrl-C should end them, too.


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--outdir", type=Path, required=True, help="where everything is written")
    add("--recipe", default="shapes64", choices=["shapes64", "things64"], help="(%(default)s)")
    add("--data", help="a folder of x.png + x.txt, or metadata.jsonl (default: the recipe's own)")
    add("--things", default="data/things64.safetensors", help="of things64 (%(default)s)")
    add("--init", metavar="MODEL", help='a checkpoint, or "built-in", that is taught --data')
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="change the recipe")
    add("--device", help="cpu, cuda or mps (default: the best there is)")
    add("--autocast", action="store_true", help="compute in bfloat16 where that is safe")
    add("--compile", action="store_true", help="let torch.compile fuse the U-Net")
    options = parser.parse_args()
    if options.init and not options.data:
        parser.error("--init needs --data, the pictures that the model is to learn")
    return options


def train(options: argparse.Namespace) -> Path:
    """-> the finished model's file"""
    from ldm.models.weights import read
    from ldm.pipeline.loading import built_in
    from ldm.runtime.device import choose_device
    from ldm.training.data import Folder
    from ldm.training.fine_tuning import FINE_TUNING, fine_tune
    from ldm.training.recipe import changed
    from ldm.training.run import run
    from ldm.training.shapes.evaluation import held_out_prompts
    from ldm.training.shapes.recipe import SHAPES64
    from ldm.training.shapes.scenes import Scenes
    from ldm.training.things.collection import load
    from ldm.training.things.data import Things
    from ldm.training.things.recipe import THINGS64

    device = choose_device(options.device)
    where = options.outdir, device, options.autocast, options.compile
    if options.init:
        tuning = changed(FINE_TUNING, options.set)
        init = read(built_in() if options.init == "built-in" else options.init)
        return fine_tune(init, Folder(options.data, init.family.size), tuning, *where)
    recipes = {"shapes64": SHAPES64, "things64": THINGS64}
    recipe = changed(recipes[options.recipe], options.set)
    size = recipe.family.size
    if options.data:
        return run(recipe, Folder(options.data, size), *where)
    if options.recipe == "things64":
        things = load(options.things)
        held_out = Things(things, 32, size, evaluation=True)
        prompts = [held_out[i][1] for i in range(32)]
        data = Things(things, recipe.scenes, size, recipe.vae.seed)
        return run(recipe, data, *where, sample_prompts=prompts)
    prompts = [prompt for _, prompt in held_out_prompts(32)]
    return run(recipe, Scenes(recipe.scenes, size, recipe.vae.seed), *where, sample_prompts=prompts)


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"train.py: warning: {message}", file=sys.stderr)


def main() -> None:
    options = arguments()
    warnings.showwarning = warn
    try:
        print(train(options))
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"train.py: error: {error}")
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

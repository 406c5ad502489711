"""Train a latent diffusion model, from nothing or from another.

python scripts/train.py --outdir runs/shapes64                     the model of the library
python scripts/train.py --outdir runs/mine --data pictures/        on pictures with captions
python scripts/train.py --outdir runs/things64 --recipe things64   on the pictures of things that
                                         scripts/build_pictures.py makes
python scripts/train.py --outdir runs/small --recipe things-small --autocast
                                         on a few of these, which everybody knows: in minutes
python scripts/train.py --outdir runs/mine --data pictures/ --init built-in
                                         teach a model one's own pictures, in minutes
python scripts/train.py --outdir runs/lines --data pictures/ --init built-in --lora 8
                                         the same, and the model stays as it is: a LoRA
python scripts/train.py --outdir runs/teal --data pictures/ --init built-in --embedding teal
                                         a new word, which the captions have
python scripts/train.py --outdir runs/edges --data pictures/ --init built-in --control edges
                                         a ControlNet, whose hints are made from the pictures
python scripts/train.py --outdir runs/few --init built-in --distil
                                         a student that draws in 4 steps, without guidance; with
                                         --lora it is an LCM-LoRA, without --init the last stage
python scripts/train.py --outdir runs/quick --set unet.steps=500 --set scenes=2000

torchrun --nproc-per-node 2 scripts/train.py --outdir runs/shapes64
                                         each process learns from its part of every batch; with any
                                         number of them the model is the same, but for rounding

Killed, it goes on where it was when the same command is given again. It ends with
OUTDIR/model.safetensors, which every other script takes as --ckpt (and few_steps.safetensors beside
it, of --distil without --init); or with lora.safetensors, NAME.safetensors or
controlnet.safetensors, which they take as --lora, in --embedding_dir and as --control.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from ldm.runtime.ending import deafen

# The rest is imported within `train`: torch takes seconds to load, and Ctrl-C should end them, too.


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--outdir", type=Path, required=True, help="where everything is written")
    recipes = ["shapes64", "things64", "things-small"]
    add("--recipe", default="shapes64", choices=recipes, help="(%(default)s)")
    add("--data", help="a folder of x.png + x.txt, or metadata.jsonl (default: the recipe's own)")
    add(
        "--things",
        default="data/things64.safetensors",
        help="of things64 and things-small (%(default)s)",
    )
    add("--init", metavar="MODEL", help='a checkpoint, or "built-in", that is taught --data')
    learner = parser.add_argument_group("what --init learns, if not the whole model")
    what = learner.add_mutually_exclusive_group()
    what.add_argument("--lora", type=int, metavar="RANK", help="a LoRA")
    what.add_argument("--embedding", metavar="NAME", help="a word, by textual inversion")
    what.add_argument("--control", metavar="HINT", help="a ControlNet: edges, blur, tile or grey")
    learner.add_argument("--layers", choices=["attention", "unet", "all"], help="of --lora")
    learner.add_argument("--vectors", type=int, help="of --embedding: how many (1)")
    learner.add_argument("--like", metavar="WORD", help="of --embedding: where it starts")
    add("--distil", action="store_true", help="learn to draw in few steps what the model does")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="change the recipe")
    add("--device", help="cpu, cuda or mps (default: the best there is)")
    add("--autocast", action="store_true", help="compute in bfloat16 where that is safe")
    add("--compile", action="store_true", help="let torch.compile fuse the U-Net")
    options = parser.parse_args()
    if options.init and not (options.data or options.distil):
        parser.error("--init needs --data, the pictures that the model is to learn")
    if options.distil and (options.embedding is not None or options.control is not None):
        parser.error("--distil goes with whole models and with --lora")
    for flag, *others in (("lora", "layers"), ("embedding", "vectors", "like"), ("control",)):
        if getattr(options, flag) is not None and not options.init:
            parser.error(f"--{flag} needs --init, the model that it is for")
        if getattr(options, flag) is not None and options.compile:
            parser.error(f"--compile goes with whole models, not with --{flag}")
        for other in others:
            if getattr(options, other) is not None and getattr(options, flag) is None:
                parser.error(f"--{other} goes with --{flag}")
    return options


def learner_of(options: argparse.Namespace) -> tuple[Any, Any]:
    """What learns, and its recipe."""
    from ldm.training import additions
    from ldm.training.few_steps import DISTILLATION
    from ldm.training.fine_tuning import FINE_TUNING, Whole

    if options.lora is not None:
        layers = options.layers or "attention"
        low_rank = additions.LowRank(options.lora, layers)
        return low_rank, DISTILLATION if options.distil else additions.LOW_RANK
    if options.embedding is not None:
        vectors = 1 if options.vectors is None else options.vectors
        word = additions.Inversion(options.embedding, vectors, options.like)
        return word, additions.INVERSION
    if options.control is not None:
        return additions.Control(options.control), additions.CONTROL
    return Whole(), DISTILLATION if options.distil else FINE_TUNING


def data_of(options: argparse.Namespace, scenes: int, size: int, seed: int) -> tuple[Any, Any]:
    """What is learnt from, and the prompts of samples, None for the first captions."""
    from ldm.training.data import Folder
    from ldm.training.shapes.evaluation import held_out_prompts
    from ldm.training.shapes.scenes import Scenes
    from ldm.training.things.collection import load
    from ldm.training.things.data import Things
    from ldm.training.things.familiar import Familiar

    if options.data:
        return Folder(options.data, size), None
    if options.recipe == "things-small":
        familiar = Familiar(load(options.things), scenes, size, seed)
        return familiar, familiar.prompts(32)
    if options.recipe == "things64":
        things = load(options.things)
        held_out = Things(things, 32, size, evaluation=True)
        return Things(things, scenes, size, seed), [held_out[i][1] for i in range(32)]
    return Scenes(scenes, size, seed), [prompt for _, prompt in held_out_prompts(32)]


def train(options: argparse.Namespace) -> Path:
    """-> the finished model's file"""
    from dataclasses import replace

    from ldm.models.weights import read
    from ldm.pipeline.loading import built_in
    from ldm.prompts.known import read_known, save_known
    from ldm.runtime.device import choose_device
    from ldm.runtime.distributed import own_gpu
    from ldm.training.few_steps import DISTILLATION, distil
    from ldm.training.fine_tuning import fine_tune
    from ldm.training.known import known_of
    from ldm.training.recipe import changed
    from ldm.training.run import run
    from ldm.training.shapes.recipe import SHAPES64
    from ldm.training.things.recipe import THINGS64, THINGS_SMALL

    device = own_gpu(choose_device(options.device))
    where = options.outdir, device, options.autocast, options.compile
    if options.init:
        learner, recipe = learner_of(options)
        tuning = changed(recipe, options.set)
        parent = built_in() if options.init == "built-in" else Path(options.init)
        init = read(parent)
        scenes = tuning.scenes if options.distil else 0
        data, prompts = data_of(options, scenes, init.family.size, seed=0)
        teach = distil if options.distil else fine_tune
        model = teach(init, data, tuning, *where, sample_prompts=prompts, learner=learner)
        known = read_known(parent) if options.distil and options.lora is None else None
        if known is not None:  # a student knows what its teacher does
            save_known(model, known)
        return model
    recipes = {"shapes64": SHAPES64, "things64": THINGS64, "things-small": THINGS_SMALL}
    recipe = recipes[options.recipe]
    if options.distil:
        recipe = replace(recipe, distil=DISTILLATION.distil)
    recipe = changed(recipe, options.set)
    data, prompts = data_of(options, recipe.scenes, recipe.family.size, recipe.vae.seed)
    start = read(built_in()) if recipe.start else None
    model = run(recipe, data, *where, sample_prompts=prompts, start=start)
    if not options.data:
        save_known(model, known_of(data))
    return model


def train_together(options: argparse.Namespace) -> None:
    """In each of the processes that torchrun started, if it did. The first one speaks."""
    import torch

    from ldm.runtime.distributed import processes

    with processes("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo") as team:
        if team.rank > 0:
            warnings.showwarning = lambda *_, **__: None
        path = train(options)
        if team.rank == 0:
            print(path)


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"train.py: warning: {message}", file=sys.stderr)


def main() -> None:
    options = arguments()
    warnings.showwarning = warn
    try:
        train_together(options)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"train.py: error: {error}")
    except KeyboardInterrupt:
        deafen()
        print("\nstopped: the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

"""How often is what a prompt asks for there? Generates from prompts and reads the pictures back.

python scripts/evaluate.py                                  the built-in model, as it comes
python scripts/evaluate.py --ckpt mine.safetensors --steps 20 --failures failures.png
python scripts/evaluate.py --dtype bfloat16 --count 100     in numbers of half the length
python scripts/evaluate.py --ckpt runs/things64/model.safetensors --set things

shapes: held-out scenes, and how often every attribute is right. things: pairs of a thing and a
style, those that were trained on and those that were held out, and how often a judge, which
train_judge.py has trained, names the thing first of all; then the scenes of shapes.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FIELDS = {"sampler": str, "schedule": str, "steps": int, "guidance_scale": float}  # of a request


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of at least 1")
    return int(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--ckpt", help="the model to evaluate (default: the built-in one)")
    told = "what to ask for (default: things if a list of them lies beside the model)"
    add("--set", choices=("shapes", "things"), help=told)
    add("--things", default="data/things64.safetensors", help="pictures of things (%(default)s)")
    add("--judge", default="data/judge.safetensors", help="of things (%(default)s)")
    add("--count", type=positive, default=500, help="prompts of each kind (default: 500)")
    add("--seed", type=int, default=0, help="of the prompts and of the pictures (default: 0)")
    add("--batch", type=positive, default=16, help="pictures at once (default: 16)")
    add("--failures", type=Path, metavar="PNG", help="where to save what went wrong")
    add("--device", help="cpu, cuda or mps (default: the best there is)")
    formats = ["float32", "float16", "bfloat16"]
    add("--dtype", choices=formats, help="of the networks (default: what suits the device)")
    for name, kind in FIELDS.items():
        flag = "--scale" if name == "guidance_scale" else f"--{name}"
        add(flag, dest=name, type=kind, help="(default: the model's)")
    return parser.parse_args()


def evaluated(args: argparse.Namespace) -> None:
    # imported here: torch takes seconds to load, and Ctrl-C should end them, too
    import numpy as np
    from tqdm import tqdm

    import ldm
    from ldm.pipeline.known import known_by
    from ldm.training.shapes import evaluation as shapes
    from ldm.training.things import evaluation as things
    from ldm.training.things.collection import load
    from ldm.training.things.judge import load_judge

    model = ldm.load(args.ckpt, args.device, args.dtype)
    options = {name: getattr(args, name) for name in FIELDS}
    known = known_by(model)
    kind = args.set or ("things" if known is not None and len(known.things) > 1 else "shapes")

    def generate(prompts: list[str]) -> Iterator["np.ndarray"]:
        request = ldm.Request(tuple(prompts), seed=args.seed, **options)
        with tqdm(total=len(prompts), unit="picture") as bar:
            for part in request.split(args.batch):
                pictures = model.generate(part, batch=args.batch)
                yield from map(np.asarray, pictures)
                bar.update(len(pictures))

    sheets = {}
    if kind == "things":
        collection, judge = load(args.things), load_judge(args.judge)
        for title, held_out in (("trained pairs", False), ("held-out pairs", True)):
            asked = things.prompts(collection, args.count, args.seed, held_out)
            found = things.evaluate(generate, judge, asked)
            print(things.table(found, title), end="\n\n")
            sheets[title] = things.failures(found, judge)
    results = shapes.evaluate(generate, args.count, args.seed)
    print(shapes.table(results))
    sheets["shapes"] = shapes.failures(results)
    for name, sheet in sheets.items():
        if args.failures is not None and sheet is not None:
            ending = "" if len(sheets) == 1 else f"-{name.split()[0]}"
            path = args.failures.with_stem(f"{args.failures.stem}{ending}")
            sheet.save(path)
            print(f"failures: {path}")


def main() -> None:
    args = arguments()
    try:
        evaluated(args)
    except (ValueError, OSError) as error:
        sys.exit(f"evaluate.py: error: {error}")
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

"""How often is every attribute of a prompt right? Generates from held-out prompts and reads the
pictures back.

python scripts/evaluate.py                                  the built-in model, as it comes
python scripts/evaluate.py --ckpt mine.safetensors --steps 20 --failures failures.png
python scripts/evaluate.py --dtype bfloat16 --count 100     in numbers of half the length
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
    add("--count", type=positive, default=500, help="number of prompts (default: 500)")
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
    from ldm.training.shapes.evaluation import evaluate, failures, table

    model = ldm.load(args.ckpt, args.device, args.dtype)
    options = {name: getattr(args, name) for name in FIELDS}

    def generate(prompts: list[str]) -> Iterator["np.ndarray"]:
        request = ldm.Request(tuple(prompts), seed=args.seed, **options)
        with tqdm(total=len(prompts), unit="picture") as bar:
            for part in request.split(args.batch):
                pictures = model.generate(part, batch=args.batch)
                yield from map(np.asarray, pictures)
                bar.update(len(pictures))

    results = evaluate(generate, args.count, args.seed)
    print(table(results))
    sheet = failures(results)
    if args.failures is not None and sheet is not None:
        sheet.save(args.failures)
        print(f"failures: {args.failures}")


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

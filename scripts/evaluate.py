"""How often is every attribute of a prompt right? Generates from held-out prompts and reads the pictures back.

python scripts/evaluate.py                                  the built-in model, as it comes
python scripts/evaluate.py --ckpt mine.safetensors --steps 20 --failures failures.png
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ldm
from ldm.training.evaluation import evaluate, failures, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", help="the model to evaluate (default: the built-in one)")
    parser.add_argument("--count", type=int, default=500, help="number of prompts (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts and of the pictures (default: 0)")
    parser.add_argument("--batch", type=int, default=16, help="pictures at once (default: 16)")
    parser.add_argument("--failures", type=Path, metavar="PNG", help="where to save what went wrong")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    for name, kind in (("sampler", str), ("schedule", str), ("steps", int), ("scale", float)):
        parser.add_argument(f"--{name}", type=kind, help="(default: the model's)")
    args = parser.parse_args()
    model = ldm.load(args.ckpt, device=args.device)
    options = {name: getattr(args, name) for name in ("sampler", "schedule", "steps", "scale")}

    def generate(prompts: list[str]) -> Iterator[np.ndarray]:
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


if __name__ == "__main__":
    main()

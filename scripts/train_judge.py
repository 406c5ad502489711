"""Train the judge of things, which evaluate.py asks what a model has drawn.

python scripts/train_judge.py                         data/judge.safetensors
python scripts/train_judge.py --check                 of the same file: how often it is right

It takes 20 minutes on a core, and needs the pictures that build_pictures.py makes. Killed, it goes
on where it was when the same command is given again.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--things", type=Path, default=Path("data/things64.safetensors"), help="(%(default)s)")
    add("--out", type=Path, default=Path("data/judge.safetensors"), help="(%(default)s)")
    add("--folder", type=Path, default=Path("runs/judge"), help="of the training (%(default)s)")
    add("--steps", type=int, help="how many (default: 4000)")
    add("--check", action="store_true", help="train nothing, measure the file that is there")
    add("--count", type=int, default=2000, help="pictures to measure it on (default: 2000)")
    return parser.parse_args()


def trained(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from ldm.training.loop import train
    from ldm.training.things.collection import load
    from ldm.training.things.judge import save_judge
    from ldm.training.things.judging import JUDGE, JudgeStage, new_judge

    collection = load(options.things)
    config = JUDGE if options.steps is None else replace(JUDGE, steps=options.steps)
    stage = JudgeStage(new_judge(collection), collection)
    judge = train(stage, config, options.folder, "judge", autocast=True)
    save_judge(options.out, stage.settle(judge))


def check(options: argparse.Namespace) -> None:
    """Prints how many things of each style are named rightly, in pictures that training has not
    drawn."""
    from ldm.training.things.collection import load
    from ldm.training.things.judge import load_judge
    from ldm.training.things.judging import true_pictures

    judge = load_judge(options.out)
    entries, images = true_pictures(load(options.things), options.count)
    right = defaultdict(list)
    for entry, guess in zip(entries, judge.guesses(images), strict=True):
        for style in (entry.style, "all"):
            right[style].append(guess == entry.thing)
    print(f"{'':<12}{'pictures':>10}{'thing':>10}")
    for style, values in sorted(right.items(), key=lambda item: item[0] == "all"):
        print(f"{style:<12}{len(values):>10}{sum(values) / len(values):>10.1%}")


def main() -> None:
    options = arguments()
    try:
        if not options.check:
            trained(options)
        check(options)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"train_judge.py: error: {error}")
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

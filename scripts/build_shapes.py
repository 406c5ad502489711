"""Draw pictures of shapes that the built-in model cannot draw, with captions, to teach it.

python scripts/build_shapes.py outlines --out pictures/outlines    x.png and x.txt
python scripts/build_shapes.py sun --count 100 --out pictures/sun
python scripts/build_shapes.py anywhere --count 2000 --out pictures/anywhere

They are what the README's LoRA, embedding and ControlNet were trained on, see scripts/train.py.
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    from PIL import Image

    from ldm.training.shapes.variants import VARIANTS, examples_of

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variant", choices=VARIANTS, help="what is drawn")
    parser.add_argument("--out", type=Path, required=True, help="a folder, new or empty")
    parser.add_argument("--count", type=int, default=300, help="how many (%(default)s)")
    parser.add_argument("--size", type=int, default=64, help="in pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    options = parser.parse_args()
    if min(options.count, options.size) < 1:
        parser.error("--count and --size must be at least 1")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        parser.error(f"{options.out} is there already, and is no empty folder")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        drawn = examples_of(options.variant, options.count, options.size, options.seed)
        for i, (pixels, caption) in enumerate(drawn):
            Image.fromarray(pixels).save(options.out / f"{i:05}.png")
            (options.out / f"{i:05}.txt").write_text(caption + "\n", "utf-8")
    except OSError as error:
        sys.exit(f"build_shapes.py: error: {error}")
    print(f"{options.out}: {options.count} pictures")


if __name__ == "__main__":
    main()

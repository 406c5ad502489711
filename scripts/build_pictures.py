"""Build the pictures of things that a model can be trained on, from npm packages.

python scripts/build_pictures.py                      data/things64.safetensors
python scripts/build_pictures.py --size 128 --out data/things128.safetensors
python scripts/build_pictures.py --sheet sheet.png    a sheet of 100 examples with their captions

What is there is kept: remove the file to build it anew.

Needs npm and Node.js, the network the first time, and `pip install '.[data]'`. DATA.md names
every source and its licence.
"""

import argparse
import sys
from collections import Counter
from itertools import chain
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("data/things64.safetensors"), help="(%(default)s)")
    add("--packages", type=Path, default=Path("data/packages"), help="kept here (%(default)s)")
    add("--size", type=int, default=64, help="in pixels, a multiple of 16 (default: 64)")
    add("--faces", type=int, default=1200, help="of each style that draws faces (default: 1200)")
    add("--sheet", type=Path, metavar="PNG", help="where to save examples with their captions")
    told = "write beside a model's file what one knows that was trained on these pictures"
    add("--vocabulary", type=Path, metavar="MODEL", help=told)
    add("--seed", type=int, default=0, help="of these examples (default: 0)")
    add("--held-out", action="store_true", help="of the pairs that are never trained on")
    options = parser.parse_args()
    if options.size < 16 or options.size % 16:
        parser.error(f"--size must be a multiple of 16, not {options.size}")
    return options


def build(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ldm.training.things.building import portraits, things, without_doubles
    from ldm.training.things.collection import save
    from ldm.training.things.packages import fetch

    modules = fetch(options.packages)
    drawn = chain(things(modules, options.size), portraits(modules, options.size, options.faces))
    kept = list(without_doubles(tqdm(drawn, desc="pictures", dynamic_ncols=True)))
    save(options.out, [pixels for _, pixels in kept], [entry for entry, _ in kept])
    styles = Counter(entry.style for entry, _ in kept)
    print(f"{options.out}: {len(kept)} pictures, {len({e.thing for e, _ in kept})} things")
    print(", ".join(f"{style} {count}" for style, count in styles.items()))


def draw_sheet(options: argparse.Namespace) -> None:
    from PIL.Image import Image, Resampling, fromarray, new

    from ldm.images.sheets import labelled_grid
    from ldm.training.things.collection import load
    from ldm.training.things.data import Things

    data = Things(load(options.out), 100, options.size, options.seed, options.held_out)
    rows: list[Image] = []
    for start in range(0, len(data), 10):
        pictures, captions = zip(*(data[i] for i in range(start, start + 10)), strict=True)
        shown = [fromarray(pixels).resize((160, 160), Resampling.NEAREST) for pixels in pictures]
        rows.append(labelled_grid(shown, captions))
    sheet = new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    for i, row in enumerate(rows):
        sheet.paste(row, (0, sum(above.height for above in rows[:i])))
    sheet.save(options.sheet)
    print(options.sheet)


def tell_vocabulary(options: argparse.Namespace) -> None:
    from ldm.prompts.known import beside, save_known
    from ldm.training.known import known_things
    from ldm.training.things.collection import load

    if not options.vocabulary.exists():
        raise ValueError(f"there is no model {options.vocabulary}")
    save_known(options.vocabulary, known_things(load(options.out)))
    print(beside(options.vocabulary))


def main() -> None:
    options = arguments()
    try:
        if not options.out.exists():
            build(options)
        if options.sheet is not None:
            draw_sheet(options)
        if options.vocabulary is not None:
            tell_vocabulary(options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"build_pictures.py: error: {error}")


if __name__ == "__main__":
    main()

"""Weights by blocks of the U-Net, as people share them for merging ("MBW", merge block weighted, an
extension of AUTOMATIC1111's web UI by bbc-mc).

    BASE               text encoders and VAE
    IN00, IN01, ...    CompVis's input_blocks; with IN00 the embedding of the time
    M00                middle_block
    OUT00, OUT01, ...  output_blocks; with the last one the layers after it

Stable Diffusion 1 and 2 have 25 blocks, IN00 to OUT11, and SDXL has 19.
"""

import re
from functools import lru_cache

from ..family import Family
from ..keymaps import table

PLACE = re.compile(r"model\.diffusion_model\.(input_blocks|middle_block|output_blocks)\.(\d+)\.")
KINDS = {"input_blocks": "IN", "output_blocks": "OUT"}
ITEM = re.compile(r"([A-Z]+\d*)(?:-([A-Z]+\d*))?=(.+)")


@lru_cache(maxsize=4)
def blocks_of(family: Family) -> dict[str, str]:
    """Each parameter of ours -> its block."""
    found, last = {}, 0
    compvis = {ours: source.names[0] for ours, source in table(family, "compvis").items()}
    for ours, name in compvis.items():
        if (match := PLACE.match(name)) is None:
            continue
        kind, number = match[1], int(match[2])
        found[ours] = f"{KINDS[kind]}{number:02}" if kind in KINDS else "M00"
        last = max(last, number) if kind == "output_blocks" else last
    for ours, name in compvis.items():
        if ours not in found and ours.startswith("unet."):
            ends = name.startswith("model.diffusion_model.out.")
            found[ours] = f"OUT{last:02}" if ends else "IN00"
    return {ours: found.get(ours, "BASE") for ours in compvis}


def order(family: Family) -> list[str]:
    """IN00 ... M00 ... OUT11, in the order in which weights are written."""
    names = set(blocks_of(family).values()) - {"BASE"}
    return sorted(names, key=lambda name: (("IN", "M0", "OU").index(name[:2]), name))


def weights_by_block(text: str, family: Family, alpha: float) -> dict[str, float]:
    """What `--blocks` says: numbers in order, of all blocks, or of BASE and all blocks; or names,
    of which the others take alpha.

    0,0,0.1, ... 1              IN00=0,IN03-IN05=0.3,BASE=1
    """
    names, parts = order(family), [part.strip() for part in text.replace(";", ",").split(",")]
    if "=" not in text:
        numbers = [number(part) for part in parts]
        if len(numbers) not in (len(names), len(names) + 1):
            raise ValueError(
                f"--blocks has {len(numbers)} numbers: {family.name} has {len(names)} blocks, "
                f"{names[0]} to {names[-1]}; give one for each, or one for BASE before them"
            )
        return dict(zip(["BASE", *names], [alpha, *numbers][-len(names) - 1 :]))
    found = dict.fromkeys(["BASE", *names], alpha)
    for part in parts:
        match = ITEM.fullmatch(part.upper())
        first, last = (match[1], match[2] or match[1]) if match else ("", "")
        if match is None or not {first, last} <= found.keys():
            known = f"BASE, {names[0]} to {names[-1]}"
            raise ValueError(f"--blocks {part!r:.80} is no weight of a block: {known}, as M00=0.5")
        every = list(found)
        for name in every[every.index(first) : every.index(last) + 1]:
            found[name] = number(match[3])
    return found


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= 100:
        raise ValueError(f"--blocks: {text!r:.80} is no number from -100 to 100")
    return value

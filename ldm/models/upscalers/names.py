"""What upscalers are called in files: which network it is, of which sizes, and each layer's name.

RRDBNet has been written in three ways: with the numbers of a chain of layers (ESRGAN's first
release, and most files that people trained with its descendants), with names (its second), and with
BasicSR's names, which Real-ESRGAN has, too.
"""

import re
from collections.abc import Mapping
from itertools import count
from math import isqrt
from typing import NamedTuple

from ..weights.mapped import Weight
from .compact import CompactConfig
from .rrdbnet import RRDBConfig

Rows = dict[str, str]  # each layer's name here -> there


class Named(NamedTuple):
    """A way to write an RRDBNet. {} in a block are its number, that of a dense one within it, and
    that of a convolution; in a chain the numbers tell what is what."""

    block: str
    stem: str
    trunk: str
    up: str = ""
    hr: str = ""
    out: str = ""


CONVS = "conv_up{}", "conv_hr", "conv_last"
UPCONVS = "upconv{}", "HRconv", "conv_last"
WAYS = (
    Named("body.{}.rdb{}.conv{}", "conv_first", "conv_body", *CONVS),
    Named("RRDB_trunk.{}.RDB{}.conv{}", "conv_first", "trunk_conv", *UPCONVS),
    Named("model.1.sub.{}.RDB{}.conv{}.0", "model.0", "model.1.sub.{}"),
)
BODY = re.compile(r"body\.(\d{1,3})\.weight")
CHAIN = re.compile(r"model\.(\d{1,3})\.weight")


def counted(name: str, weights: Mapping[str, Weight], start: int = 0) -> int:
    """How many there are of a name that has a number, which begins at `start`."""
    return next(i for i in count() if name.format(i + start) not in weights)


def rrdb(weights: Mapping[str, Weight]) -> tuple[RRDBConfig, Rows] | None:
    """The sizes and the layers of an RRDBNet; None: it is none."""
    way = next((way for way in WAYS if f"{way.block.format(0, 1, 1)}.weight" in weights), None)
    if way is None:
        return None
    blocks = counted(way.block.format("{}", 1, 1) + ".weight", weights)
    if not way.up:
        numbers = sorted(int(match[1]) for name in weights if (match := CHAIN.fullmatch(name)))
        *ups, hr, out = (f"model.{number}" for number in numbers[1:])
    else:
        found = counted(f"{way.up}.weight", weights, 1)
        ups, hr, out = [way.up.format(i + 1) for i in range(found)], way.hr, way.out
    rows = {"stem": way.stem, "trunk": way.trunk.format(blocks), "hr": hr, "out": out}
    rows |= {f"up.{i}": name for i, name in enumerate(ups)}
    for i in range(blocks):
        for j in range(3):
            for k in range(5):
                rows[f"body.{i}.dense.{j}.convs.{k}"] = way.block.format(i, j + 1, k + 1)
    channels, seen = weights[f"{way.stem}.weight"].shape[:2]
    growth = weights[f"{way.block.format(0, 1, 1)}.weight"].shape[0]
    return RRDBConfig(channels, growth, blocks, len(ups), max(isqrt(seen // 3), 1)), rows


def compact(weights: Mapping[str, Weight]) -> tuple[CompactConfig, Rows] | None:
    """The same of the compact network: body.0, its activation body.1, body.2, ..."""
    numbers = sorted({int(found[1]) for name in weights if (found := BODY.fullmatch(name))})
    if len(numbers) < 3 or numbers != list(range(len(numbers))) or len(numbers) % 2 == 0:
        return None
    convs, rows = len(numbers) // 2, {"out": f"body.{numbers[-1]}"}
    for i in range(convs):
        rows |= {f"convs.{i}": f"body.{2 * i}", f"acts.{i}": f"body.{2 * i + 1}"}
    channels, out = (weights[f"body.{i}.weight"].shape[0] for i in (0, numbers[-1]))
    return CompactConfig(channels, convs, max(isqrt(out // 3), 1)), rows

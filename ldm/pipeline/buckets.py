"""The sizes that SDXL was trained at: pictures of like shapes were brought to one of them. Podell
et al. 2023, sec. 2.3 and app. I; those of Stability-AI/generative-models, scripts/demo/sampling.py.
"""

import math

from ..models.families import Family

TALL = (
    *((704, 1408), (704, 1344), (768, 1344), (768, 1280), (832, 1216), (832, 1152)),
    *((896, 1152), (896, 1088), (960, 1088), (960, 1024)),
)
WIDE = (
    *((1024, 960), (1088, 960), (1088, 896), (1152, 896), (1152, 832), (1216, 832), (1280, 768)),
    *((1344, 768), (1344, 704), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576)),
    (1728, 576),
)
BUCKETS = (*TALL, (1024, 1024), *WIDE)  # width and height


def nearest_bucket(width: int, height: int) -> tuple[int, int]:
    """The one whose shape is most like this."""
    return min(BUCKETS, key=lambda size: abs(math.log(size[0] / size[1] * height / width)))


def bucket_hint(width: int, height: int, family: Family) -> str | None:
    """A line for a picture of another size than those of SDXL's training; None: it is of one, or
    the family has others."""
    of_sdxl = {"sizes", "sizes_and_score"} & {*family.conditioning} and family.size == 1024
    if not of_sdxl or (width, height) in BUCKETS:
        return None
    best = nearest_bucket(width, height)
    return (
        f"{width} x {height} is none of the sizes that {family.name} was trained at: the nearest "
        f"is --W {best[0]} --H {best[1]}"
    )

"""What each layer of a vision tower is called, see `rows`: in OpenAI's files and OpenCLIP's, which
stand in the place of CompVis's, and in those of transformers.
"""

from collections.abc import Iterator

from ...clip.vision import VisionConfig
from .rows import Form, Operation, Row, with_prefix
from .text import BARE, BARE_TRANSPOSED, OPENCLIP_LAYER

# The embedding of the first token is a vector there, and here a table of one row.
BARE_ROW = Form(suffix="", operation=Operation(lambda x: x[None], lambda x: x[0]))

# transformers before version 5, and without the first part some files of a tower alone
VISION_MODEL = ("vision_model.", "")

# The mean and the deviation of a picture's embedding, see `clip.augmentation`.
AUGMENTOR = tuple(Row(name, (name,), (name,), False, BARE, BARE) for name in ("mean", "std"))


def vision_rows(config: VisionConfig) -> Iterator[Row]:
    yield from with_prefix("", "visual.", VISION_MODEL, tower_rows(config))
    yield Row("projection", ("visual.proj",), ("visual_projection",), False, BARE_TRANSPOSED)


def tower_rows(config: VisionConfig) -> Iterator[Row]:
    first, position = ("class_embedding",), ("positional_embedding",)
    yield Row("patches", ("conv1",), ("embeddings.patch_embedding",), False)
    yield Row("first", first, ("embeddings.class_embedding",), False, BARE_ROW, BARE_ROW)
    yield Row("position", position, ("embeddings.position_embedding",), False, BARE)
    yield Row("norm_in", ("ln_pre",), ("pre_layrnorm",))  # as it is spelt there
    for i in range(config.layers):
        theirs = f"transformer.resblocks.{i}.", f"encoder.layers.{i}."
        yield from with_prefix(f"layers.{i}.", *theirs, OPENCLIP_LAYER)
    yield Row("norm", ("ln_post",), ("post_layernorm",))

"""What a file is that is added to a model, for those who want to know."""

from collections.abc import Iterator
from pathlib import Path

from ..runtime.text import one_line
from .embeddings import Embedding, read_embedding
from .families import FAMILIES, SD1
from .lora.file import Lora, file_of, lora_in
from .lora.foreign import hint, stated
from .lora.matching import meant_for
from .weights.errors import CheckpointError
from .weights.opening import open_checkpoint

SHOWN = {  # of kohya's metadata and Stability's, and what they are
    "ss_output_name": "title", "modelspec.title": "title", "ss_sd_model_name": "trained on",
    "ss_network_module": "trained with", "ss_clip_skip": "clip skip",
    "modelspec.trigger_phrase": "trigger words",
}  # fmt: skip

# The widths of an embedding's vectors, and the family that it is for.
WORDS = {"768": "sd1", "1024": "sd2", "768 and 1280": "sdxl", "1280": "sdxl-refiner"}


def described(path: Path) -> str | None:
    """A LoRA or an embedding in lines of a heading and a text; None: it is something else, or
    cannot be read."""
    try:
        inside = file_of(path)
        found = None if inside.is_dir() else lora_in(open_checkpoint(inside), path)
        pairs = None if found is None else of_lora(found)
    except CheckpointError:
        pairs = None
    if pairs is None and path.is_file():
        try:
            word = read_embedding(path)
            pairs = of_embedding(word) if widths(word) in WORDS else None
        except CheckpointError:
            return None
    if pairs is None:
        return None
    lines = [("file", str(path)), *pairs]
    return "\n".join(one_line(f"{heading:<12}{text}", 2000) for heading, text in lines)


def of_lora(lora: Lora) -> Iterator[tuple[str, str]]:
    kinds = ", ".join(f"{count} {name}" for name, count in lora.kinds.items())
    networks = dict.fromkeys(layer.network for layer in lora.layers)
    yield "is a", f"LoRA, {len(lora.layers)} layers ({kinds}) of {', '.join(networks)}"
    ranks = {layer.parts["down"].shape[0] for layer in lora.layers if "down" in layer.parts}
    if ranks:
        yield "rank", ", ".join(map(str, sorted(ranks)))
    meant = meant_for(lora)
    said = stated(lora)
    yield "family", meant or "unknown"
    if said is not None and said != meant:
        yield "its header", f"says that it is for {said}"
    if (how := hint(lora, FAMILIES.get(meant or "", SD1))) is not None:
        yield "few steps", how
    for name, heading in SHOWN.items():
        if name in lora.metadata:
            yield heading, lora.metadata[name]
    if lora.embeddings:
        yield "brings", f"embeddings {', '.join(lora.embeddings)}"
    if lora.unread:
        yield "unread", f"{len(lora.unread)}: {', '.join(lora.unread[:4])}"


def widths(embedding: Embedding) -> str:
    return " and ".join(str(vectors.shape[1]) for vectors in embedding.vectors.values())


def of_embedding(embedding: Embedding) -> Iterator[tuple[str, str]]:
    yield "is an", f"embedding of {len(embedding)} vectors, {widths(embedding)} wide"
    yield "family", WORDS[widths(embedding)]

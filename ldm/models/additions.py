"""What a file is that is added to a model, for those who want to know."""

from collections.abc import Iterator
from pathlib import Path

from .embeddings import WORDS, embedding_of
from .families import FAMILIES, SD1
from .hypernetworks import of_hypernetwork
from .lora.file import Lora, lora_in
from .lora.foreign import foreign, hint, stated
from .lora.matching import meant_for
from .weights.beside import Beside
from .weights.errors import CheckpointError
from .weights.opening import OpenedCheckpoint

SHOWN = {  # of kohya's metadata and Stability's, and what they are
    "ss_output_name": "title", "modelspec.title": "title", "ss_sd_model_name": "trained on",
    "ss_network_module": "trained with", "ss_clip_skip": "clip skip",
    "modelspec.trigger_phrase": "trigger words",
}  # fmt: skip


def of_lora(opened: OpenedCheckpoint, path: Path) -> Beside | None:
    """None: it is something else. CheckpointError: it is damaged."""
    if (lora := lora_in(opened, path)) is None:
        return None
    kinds = ", ".join(f"{count} {name}" for name, count in lora.kinds.items())
    networks = dict.fromkeys(layer.network for layer in lora.layers)
    what = f"a LoRA, {len(lora.layers)} layers ({kinds}) of {', '.join(networks)}"
    meant, other = meant_for(lora), foreign(lora)
    families = () if meant not in FAMILIES else (meant,)
    problem = None if other is None else f"it is for {other}"
    return Beside(what, "--lora", families, tuple(lines_of(lora, meant)), problem)


def lines_of(lora: Lora, meant: str | None) -> Iterator[tuple[str, str]]:
    ranks = {layer.parts["down"].shape[0] for layer in lora.layers if "down" in layer.parts}
    if ranks:
        yield "rank", ", ".join(map(str, sorted(ranks)))
    said = stated(lora)
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


def of_embedding(opened: OpenedCheckpoint, path: Path) -> Beside | None:
    """None: it is something else."""
    try:
        word = embedding_of(opened.weights, path.stem, path)
    except CheckpointError:
        return None
    if word.widths not in WORDS:
        return None
    what = f"an embedding of {len(word)} vectors, {word.widths} wide"
    return Beside(what, "--embedding_dir", (WORDS[word.widths],))


KINDS = of_lora, of_hypernetwork, of_embedding  # the first that knows a file says what it is

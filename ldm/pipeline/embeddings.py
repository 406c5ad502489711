"""Embeddings that the prompts of a request name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..clip.tokenizer import Tokenizer
from ..models.embeddings import (
    ENDINGS,
    PREFIX,
    Embedding,
    WithWords,
    embedding_of,
    read_embedding,
    with_vectors,
)
from ..models.meant import only_for
from ..models.weights.mapped import Weight
from ..prompts.a1111 import extract_loras
from ..prompts.conditioner import Tower
from ..request import Request
from ..runtime.hashes import computed
from ..runtime.text import one_line
from ..runtime.warn import warn
from .additions import Addition
from .loras import Loras, found_in

Bundled = tuple[Mapping[str, Weight], Path]  # the tensors of one, and the file that they are in

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion


@dataclass(frozen=True, eq=False)
class Embeddings(Addition):
    """towers   text encoders that know them"""

    called = "embeddings"
    setting = "TI hashes"
    towers: tuple[Tower, ...]

    def again(self, model: LatentDiffusion, job: Job) -> Embeddings | None:
        return added(model, job)

    def reading(self, model: LatentDiffusion) -> LatentDiffusion:
        other = copy(model)
        other.towers = list(self.towers)
        return other

    def files(self, model: LatentDiffusion, request: Request) -> dict[str, str]:
        """Of those in files of their own that stand in its prompts; those that a LoRA brings have
        no file."""
        readers = [x.tokenizer for x in self.towers if isinstance(x.tokenizer, WithWords)]
        paths = {x.name: x.path for reader in readers for x in reader.embeddings if x.path}
        texts = texts_of(request.prompt_syntax, (*request.prompts, *request.negatives))
        names = mentioned(model.tokenizer, [*paths], texts, request.prompt_syntax != "comfyui")
        return {name: computed(paths[name])[:12] for name in names}


def added(model: LatentDiffusion, job: Job) -> Embeddings | None:
    """Text encoders that know the embeddings which the prompts, and the negative prompts, of a job
    name: those of the request's folder, and those that LoRAs bring. Names that are not there stay
    text, and so do those for another family; it is said. None: none is named. ValueError: a file is
    damaged."""
    folder = job.request.embedding_dir
    brought: dict[str, Bundled] = {}
    for loras in job.additions:
        brought |= loras.bundled() if isinstance(loras, Loras) else {}
    files = {} if folder is None else found_in(Path(folder), ENDINGS)
    texts = texts_of(job.prompt_syntax, (*job.prompts, *job.negatives))
    plainly = job.prompt_syntax != "comfyui"
    encoders, found = [tower.encoder for tower in model.towers], []
    for name in mentioned(model.tokenizer, [*brought, *files], texts, plainly):
        own = brought.get(name)
        if own is not None:
            one = embedding_of(own[0], name, own[1])
        else:
            with only_for("--embedding_dir", files[name]):
                one = read_embedding(files[name])
        try:
            one.of_towers(encoders)
            found.append(one)
        except ValueError as error:
            tell(f"embedding {name} is not used, and stays text: {error}")
    if folder is not None:
        tell_lacking(texts, {*files, *brought})
    return Embeddings(towers_with(model, found, plainly)) if found else None


def texts_of(syntax: str | None, prompts: Iterable[str]) -> list[str]:
    """Each prompt once, as it is read: without what it asks for of LoRAs, whose names are no
    words."""
    texts = dict.fromkeys(prompts)
    return [extract_loras(x)[0] for x in texts] if syntax == "a1111" else [*texts]


def mentioned(tokenizer: Tokenizer, names: list[str], texts: list[str], plainly: bool) -> list[str]:
    """The names that stand in the texts, token by token."""
    read = [f",{','.join(map(str, tokenizer.encode(text)))}," for text in texts]

    def there(name: str) -> bool:
        ids = ",".join(map(str, tokenizer.encode(name if plainly else PREFIX + name)))
        return bool(ids) and any(f",{ids}," in text for text in read)

    return [name for name in dict.fromkeys(names) if there(name)]


def tell_lacking(texts: list[str], known: set[str]) -> None:
    """Warn of what is written as embeddings are, and is none."""
    names = {name.lower() for name in known}
    written = {x for text in texts for x in re.findall(rf"{PREFIX}([\w.-]*\w)", text)}
    if lacking := sorted(name for name in written if name.lower() not in names):
        tell(f"there is no embedding {', '.join(lacking)}: it stays text")


def tell(line: str) -> None:
    warn(one_line(line))


def towers_with(
    model: LatentDiffusion, embeddings: list[Embedding], plainly: bool
) -> tuple[Tower, ...]:
    longest, room = max(embeddings, key=len), model.tokenizer.length - 2
    if len(longest) > room:
        raise ValueError(
            f"embedding {longest.name} has {len(longest)} vectors: {room} can be read at once"
        )
    encoders = [tower.encoder for tower in model.towers]
    columns = zip(*(embedding.of_towers(encoders) for embedding in embeddings))
    return tuple(
        Tower(
            WithWords(tower.tokenizer, embeddings, plainly),
            with_vectors(tower.encoder, torch.cat(vectors)),
        )
        for tower, vectors in zip(model.towers, columns)
    )

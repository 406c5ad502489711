"""Which files were added to the model for a picture, in the words of AUTOMATIC1111's web UI:

    Lora hashes: "fur: 0123456789ab", TI hashes: "ink: 0123456789ab"

12 digits: of a LoRA in safetensors the sha256 of the file without its header (that its trainer
wrote into the header goes first), of any other LoRA and of an embedding that of the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.embeddings import WithWords
from ..models.lora.file import Lora
from ..prompts.a1111 import extract_loras
from ..request import Request
from ..runtime.hashes import autov3, computed
from .embeddings import mentioned, texts_of

if TYPE_CHECKING:
    from .adding import Added
    from .job import Job
    from .model import LatentDiffusion

LORAS, WORDS = "Lora hashes", "TI hashes"


def about_added(model: LatentDiffusion, added: Added, request: Request) -> str | Mapping[str, str]:
    """What a picture's metadata say of its model, and of what is added to it. request: that of the
    picture, resolved"""
    about = model.about
    if not (said := dict(hashes_of(model, added, request))):
        return about
    return {**({"Model": about} if isinstance(about, str) else about), **said}


def hashes_of(model: LatentDiffusion, added: Added, request: Request) -> Iterator[tuple[str, str]]:
    """Each of the settings, if there is anything to say."""
    loras = {lora.name: of_lora(lora) for lora in loras_of(added, request)}
    for setting, found in ((LORAS, loras), (WORDS, words_of(model, added, request))):
        if found:
            names = {name.replace(":", "").replace(",", ""): x for name, x in found.items()}
            yield setting, ", ".join(f"{name}: {digits}" for name, digits in names.items())


def loras_of(added: Added, request: Request) -> Iterator[Lora]:
    """Those of the request's field, and those that its prompts ask for."""
    if added.loras is None:
        return
    for use in added.loras.always:
        yield use.matched.lora
    asked = [lora.name for prompt in request.prompts for lora in extract_loras(prompt)[1]]
    for name, matched in added.loras.named.items():
        if name in asked:
            yield matched.lora


def words_of(model: LatentDiffusion, added: Added, request: Request) -> dict[str, str]:
    """Of the embeddings of files of their own that stand in its prompts; those that a LoRA brings
    have no file."""
    readers = [x.tokenizer for x in added.towers or () if isinstance(x.tokenizer, WithWords)]
    files = {x.name: x.path for reader in readers for x in reader.embeddings if x.path is not None}
    texts = texts_of(request.prompt_syntax, (*request.prompts, *request.negatives))
    names = mentioned(model.tokenizer, [*files], texts, request.prompt_syntax != "comfyui")
    return {name: computed(files[name])[:12] for name in names}


def of_lora(lora: Lora) -> str:
    said = lora.metadata.get("sshs_model_hash", "")[:12]
    if len(said) == 12 and said.isalnum():
        return said
    return of_file(lora.path, lora.path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def of_file(path: Path, _: int) -> str:
    return autov3(path) if path.suffix == ".safetensors" else computed(path)[:12]


def other_files(said: Mapping[str, str], model: LatentDiffusion, job: Job) -> Iterator[str]:
    """A line for each file at hand that is another than that of a picture. said: the settings in
    its text, by their names"""
    here = dict(hashes_of(model, job.added, job.request)) if job.added is not None else {}
    for setting, what in ((LORAS, "LoRA"), (WORDS, "embedding")):
        own = parsed(here.get(setting, ""))
        for name, digits in parsed(said.get(setting, "")).items():
            if name in own and own[name] != digits:
                yield f"not honoured: {what} {name}, {digits}: the file at hand is {own[name]}"


def parsed(text: str) -> dict[str, str]:
    """
    >>> parsed("fur: 0123, ink: 4567")
    {'fur': '0123', 'ink': '4567'}
    """
    pairs = (part.rpartition(":") for part in text.split(","))
    return {name.strip(): digits.strip() for name, colon, digits in pairs if colon}

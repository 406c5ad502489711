"""diffusers' layout: a folder for each part, with a config and the weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ...clip.tokenizer import END, START
from .errors import CheckpointError, gigabytes
from .mapped import Weight
from .opening import OpenedCheckpoint, open_file

MAX_TEXT = 16_000_000  # bytes; CLIP's tokenizer.json has two million
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2", "image_encoder", "image_normalizer")
NOISE = "image_noising_scheduler"  # of the picture's embedding
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("", ".fp32", ".bf16", ".fp16", ".non_ema")  # the first that is there is taken


def open_folder(path: Path, alone: bool = False) -> OpenedCheckpoint:
    """See `open_checkpoint`."""
    if alone and (files := weights_in(path)):
        return replace(open_file(files[0]), weights=weights_of(files))
    found = find_folder(path)
    weights = {
        f"{part}.{name}": weight
        for part, files in found.files.items()
        for name, weight in weights_of(files).items()
    }
    return OpenedCheckpoint(path, "folder", weights, configs=found.configs, merges=found.merges)


def weights_of(files: list[Path]) -> dict[str, Weight]:
    """Of one network. CheckpointError: a tensor is in two of its files."""
    weights: dict[str, Weight] = {}
    for file in files:
        found = open_file(file).weights
        if twice := weights.keys() & found.keys():
            raise CheckpointError(
                f"{file} holds {min(twice)}, which another of its files holds too"
            )
        weights |= found
    return weights


def weights_in(folder: Path) -> list[Path]:
    """The files with the weights of a network: one, or several where an index names them."""
    for suffix in (".safetensors", ".bin"):
        for variant in VARIANTS:
            for stem in STEMS:
                if (file := folder / f"{stem}{variant}{suffix}").is_file():
                    return [file]
                if (index := folder / f"{stem}{suffix}.index{variant}.json").is_file():
                    return shards(index)
    return []


def shards(index: Path) -> list[Path]:
    """The files that an index speaks of, which are beside it."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map")
    files = sorted({str(name) for name in weight_map.values()})
    if odd := [name for name in files if Path(name).name != name or name in ("", "..")]:
        raise CheckpointError(f"{index} names {odd[0]!r}, which is not a file beside it")
    if absent := [name for name in files if not (index.parent / name).is_file()]:
        count = f"{len(absent)} of its {len(files)} files"
        raise CheckpointError(f"{index.parent} lacks {count}, such as {absent[0]}: download it")
    return [index.parent / name for name in files]


class Folder(NamedTuple):
    """files     of weights, by the names of their parts
    configs   by the names of their parts
    merges    of the tokenizer, one a line; None: it has no tokenizer
    """

    files: dict[str, list[Path]]
    configs: dict[str, Any]
    merges: str | None


def find_folder(path: Path) -> Folder:
    path = snapshot(path)
    if not (path / "model_index.json").is_file():
        raise CheckpointError(
            f"{path} is no diffusers folder: it has no model_index.json{_better(path)}"
        )
    index = read_json(path / "model_index.json")
    parts = [part for part in NETWORKS if is_used(index, part)]
    files = {part: weights_in(path / part) for part in parts}
    if absent := [part for part in parts if not files[part]]:
        raise CheckpointError(
            f"{path / absent[0]} has no weights: a file like {STEMS[0]}.safetensors or "
            f"{STEMS[2]}.fp16.bin should be there"
        )
    configs = {part: read_json(path / part / "config.json") for part in parts}
    configs["model_index"] = index
    for part in ("scheduler", NOISE) if "image_normalizer" in parts else ("scheduler",):
        configs[part] = read_json(path / part / "scheduler_config.json")
    found = {}
    for part in parts:
        tokenizer = part.replace("text_encoder", "tokenizer")
        if tokenizer != part and (path / tokenizer).is_dir():
            configs[tokenizer], found[tokenizer] = open_tokenizer(path / tokenizer)
    if len(merges := set(found.values())) > 1:
        raise CheckpointError(f"{path} has two tokenizers that are not the same: they must be")
    return Folder(files, configs, min(merges, default=None))


def is_used(index: dict[str, Any], part: str) -> bool:
    """Whether a network belongs to the folder: SDXL has a second text encoder, and its refiner has
    no first. Where model_index.json does not speak of it, only the second is no part, and
    what sees a picture."""
    second = part in ("text_encoder_2", "image_normalizer")
    if part == "image_encoder":  # other pipelines have one for adapters
        part, second = "image_normalizer", True
    return index.get(part, [None] if second else part) not in (None, [None], [None, None])


def snapshot(path: Path) -> Path:
    """In Hugging Face's cache a folder models--a--b holds the model in snapshots/<revision>."""
    main = path / "refs" / "main"
    if not (path / "snapshots").is_dir() or (path / "model_index.json").is_file():
        return path
    found = sorted(folder for folder in (path / "snapshots").iterdir() if folder.is_dir())
    name = read_text(main).strip() if main.is_file() else ""
    chosen = [folder for folder in found if folder.name == name] or found
    if len(chosen) != 1:
        count = f"{len(found)} snapshots"
        raise CheckpointError(f"{path} has {count}: give one, like {path / 'snapshots' / '…'}")
    return chosen[0]


def open_tokenizer(path: Path) -> tuple[dict[str, Any], str]:
    """Its config, and its merges, one a line. transformers 5 has packed into tokenizer.json what
    were several files."""
    names = ("tokenizer_config.json", "special_tokens_map.json")
    config: dict[str, Any] = {}
    for name in names:
        config |= read_json(path / name) if (path / name).is_file() else {}
    config[ADDED] = added_tokens(path, config)
    if (path / "merges.txt").is_file():
        return config, read_text(path / "merges.txt")
    model = read_json(path / "tokenizer.json").get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list):
        raise CheckpointError(f"{path / 'tokenizer.json'} has no merges")
    return config, "\n".join(
        pair if isinstance(pair, str) else " ".join(map(str, pair)) for pair in merges
    )


ADDED = "added"  # in the config that `open_tokenizer` gives: names of tokens beside the merges


def added_tokens(path: Path, config: dict[str, Any]) -> list[str]:
    """The tokens that textual inversion, say, has added; each program writes them elsewhere."""
    named = read_json(path / "added_tokens.json") if (path / "added_tokens.json").is_file() else {}
    described = config.get("added_tokens_decoder")
    for token in described.values() if isinstance(described, dict) else ():
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            named[token["content"]] = True
    return [str(name) for name in named if name not in (START, END)]


def _better(path: Path) -> str:
    """What the user may have meant."""
    if (path.parent / "model_index.json").is_file():
        return f"; {path.parent} has one: give that"
    files = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".ckpt"))
    return f"; give a file, like {files[0]}" if files else ""


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} should be a JSON object, with names and values")
    return found


def read_text(path: Path) -> str:
    if (size := path.stat().st_size) > MAX_TEXT:
        raise CheckpointError(f"{path} has {gigabytes(size)}: too much for a folder's text")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is no text: {error}") from error

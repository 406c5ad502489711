"""From a recipe to a model file: stage after stage, each of which resumes where it was killed."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..clip.tokenizer import Tokenizer
from ..models.families import Family
from ..models.weights import Checkpoint, save
from ..runtime.warn import warn
from ..vae import VAE
from .data import Data
from .distillation import DistillationStage, of_few_steps
from .encoding import scaled_latents
from .initial import new_text, new_unet, new_vae, seeded
from .loop import Stage, train
from .modules import Base, TextAndHead, TextAndUNet
from .parallel import by_first, check_batch, first_alone, team
from .recipe import STAGES, Recipe
from .record import begin
from .stages import AutoencoderStage, DecoderStage, DiffusionStage, TextStage
from .vocabulary import tokenizer_for_captions

M = TypeVar("M", bound=nn.Module)


def run(
    recipe: Recipe,
    data: Data,
    folder: Path,
    device: torch.device | str = "cpu",
    autocast: bool = False,
    compile: bool = False,
    sample_prompts: Sequence[str] | None = None,
    start: Checkpoint | None = None,
) -> Path:
    """Trains a VAE, a text encoder and a U-Net, in the recipe's STAGES. -> the model's file

    Everything is written into `folder`: training.json (what it was begun with), one folder for each
    stage (see `train`), latents.safetensors (the encoded data) and, in the end, model.safetensors
    (float16, in this library's own layout), of a family that is called as the folder; with a
    distil, then its student of few steps, few_steps.safetensors, which is the file that is
    returned. autocast, compile: see `train`. sample_prompts: what the U-Net's samples show; None:
    the first 32 captions, each once. start: a model of the recipe's networks, where the VAE and
    the U-Net start; None: from nothing. ValueError if these networks differ, or if the folder holds
    a training that was begun with other data or another recipe. Warns of captions that are too
    long.
    """
    check_batch(recipe.smallest_batch(), team())
    check_start(recipe.family, start)
    with first_alone():
        begin(folder, recipe.beside_stages(), data.contents())
    vae = start.vae.float() if start else new_vae(recipe.family.vae, recipe.vae.seed)
    edges = recipe.gradient_difference
    autoencoder = AutoencoderStage(
        vae.to(device), data, recipe.crop, recipe.crops, edges, recipe.kl
    )
    vae = fit(autoencoder, "vae", recipe, folder, autocast)
    latents, captions = scaled_latents(vae, data, folder / "latents.safetensors", autocast)
    prompts = first_prompts(captions, sample_prompts)

    length = recipe.family.text[0].length
    tokenizer = tokenizer_for_captions(captions, length, most=recipe.merges)
    warn_of_cut(tokenizer, captions, data)
    ids = tokenizer(captions)
    text_config = replace(recipe.family.text[0], vocabulary=len(tokenizer))
    name = name_of(folder, recipe.family)
    family = replace(recipe.family, name=name, vae=vae.config, text=(text_config,))
    with seeded(recipe.text.seed):
        text = TextAndHead(new_text(text_config, recipe.text.seed), latents.shape[1:]).to(device)
    text = fit(TextStage(text, vae, latents, ids), "text", recipe, folder, autocast)

    unet = start.unet.float() if start else new_unet(family.unet, recipe.unet.seed)
    module = TextAndUNet(deepcopy(text.text), unet.to(device))
    options = recipe.cond_drop_prob, recipe.logit_normal, recipe.gamma
    stage = DiffusionStage(module, family, vae, tokenizer, latents, ids, *options, prompts)
    module = fit(stage, "unet", recipe, folder, autocast, compile)
    if recipe.joint is not None:
        joint = TextAndUNet(text.text, module.unet, text.head)
        stage = replace(stage, module=joint, logit_normal=False)
        module = fit(stage, "joint", recipe, folder, autocast, compile)

    vae = fit(DecoderStage(vae, data, latents, recipe.noise, edges), "decoder", recipe, folder)
    path = write(folder / "model.safetensors", family, module, vae, tokenizer.merges)
    if recipe.distil is None:
        return path
    last = student_of(module, family, vae, tokenizer, latents, ids, prompts)
    module = fit(last, "distil", recipe, folder, autocast, compile)
    return write(folder / "few_steps.safetensors", last.family, module, vae, tokenizer.merges)


def check_start(family: Family, start: Checkpoint | None) -> None:
    """ValueError if training cannot start from this model."""
    if start is None:
        return
    vae = replace(start.family.vae, scale=family.vae.scale)
    unet = start.family.unet
    for name, ours, theirs in (("VAE", family.vae, vae), ("U-Net", family.unet, unet)):
        if ours != theirs:
            raise ValueError(
                f"the recipe's {name} must be that of {start.family.name}, where it starts: "
                f"{theirs}, not {ours}"
            )


def student_of(
    module: TextAndUNet,
    family: Family,
    vae: VAE,
    tokenizer: Tokenizer,
    latents: Tensor,
    ids: Tensor,
    prompts: list[str],
) -> DistillationStage[TextAndUNet]:
    """The last stage: what was trained is the teacher, and where the student starts."""
    teacher = Base(deepcopy(module.text), deepcopy(module.unet))
    encoded, scale = (vae, tokenizer, latents, ids), family.guidance_scale
    student = TextAndUNet(module.text, module.unet)
    return DistillationStage(student, teacher, of_few_steps(family), *encoded, scale, prompts)


def write(
    path: Path,
    family: Family,
    module: TextAndUNet,
    vae: VAE,
    merges: tuple[tuple[str, str], ...] | None,
) -> Path:
    """The file of a model, float16. The networks stay as they are."""
    text, unet = deepcopy(module.text).half(), deepcopy(module.unet).half()
    halves = Checkpoint(family, (text,), unet, deepcopy(vae).half(), merges)
    by_first(lambda: save(path, halves))
    return path


def fit(
    stage: Stage[M],
    name: str,
    recipe: Recipe,
    folder: Path,
    autocast: bool = False,
    compile: bool = False,
) -> M:
    """`train` for the stage of that name."""
    stages = recipe.stages()
    title = f"stage {stages.index(name) + 1} of {len(stages)}, {STAGES[name]}"
    return train(stage, getattr(recipe, name), folder / name, title, autocast, compile)


def name_of(folder: Path, family: Family) -> str:
    """What the family of a training's model is called: as its folder."""
    return folder.resolve().name or family.name


def first_prompts(captions: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """What samples show: the wanted prompts, or the first 32 captions, each once."""
    return list(dict.fromkeys(captions))[:32] if wanted is None else list(wanted)


def warn_of_cut(tokenizer: Tokenizer, captions: Sequence[str], data: Data) -> None:
    """One warning for all captions of more tokens than the text encoder reads."""
    room = tokenizer.length - 2
    if long := [i for i, text in enumerate(captions) if len(tokenizer.encode(text)) > room]:
        warn(
            f"{len(long)} of {len(captions)} captions have more than {room} tokens and are cut "
            f"there, first that of {data.name(long[0])}"
        )

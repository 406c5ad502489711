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
from ..unet import UNet
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
    the first 32 captions, each once. start: the model of the recipe's `start`. ValueError if its
    networks are others, or if the folder holds a training that was begun with other data or another
    recipe. Warns of captions that are too long.
    """
    vae, unet = begun(recipe, data, folder, start)
    crops, edges = (recipe.crop, recipe.crops), recipe.gradient_difference
    autoencoder = AutoencoderStage(vae.to(device), data, *crops, edges, recipe.kl)
    vae = fit(autoencoder, "vae", recipe, folder, autocast)
    latents, captions = scaled_latents(vae, data, folder / "latents.safetensors", autocast)
    prompts = first_prompts(captions, sample_prompts)
    text_config = recipe.family.text[0]
    tokenizer = tokenizer_for_captions(captions, text_config.length, most=recipe.merges)
    warn_of_cut(tokenizer, captions, data)
    ids = tokenizer(captions)

    text_config = replace(text_config, vocabulary=len(tokenizer))
    name = name_of(folder, recipe.family)
    family = replace(recipe.family, name=name, vae=vae.config, text=(text_config,))
    with seeded(recipe.text.seed):
        text = TextAndHead(new_text(text_config, recipe.text.seed), latents.shape[1:]).to(device)
    text = fit(TextStage(text, vae, latents, ids), "text", recipe, folder, autocast)

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


def begun(recipe: Recipe, data: Data, folder: Path, start: Checkpoint | None) -> tuple[VAE, UNet]:
    """Checks everything, makes the folder, see `begin`. -> the networks as training begins"""
    check_batch(recipe.smallest_batch(), team())
    both = networks(recipe, start)
    with first_alone():
        begin(folder, recipe.beside_stages(), data.contents())
    return both


def networks(recipe: Recipe, start: Checkpoint | None) -> tuple[VAE, UNet]:
    """As training begins. ValueError if one starts as the model's, and the model's is another."""
    family = recipe.family
    vae, unet = new_vae(family.vae, recipe.vae.seed), new_unet(family.unet, recipe.unet.seed)
    if not recipe.start:
        return vae, unet
    if start is None:
        raise ValueError(f"the recipe starts with a model's {' and '.join(recipe.start)}: give one")
    same = {
        "vae": replace(start.family.vae, scale=family.vae.scale) == family.vae,
        "unet": start.family.unet == family.unet,
    }
    for name in recipe.start:
        if not same[name]:
            raise ValueError(
                f"family.{name} must be that of {start.family.name}, where it starts; for another "
                f"give a recipe whose start does not name it"
            )
    vae = start.vae.float() if "vae" in recipe.start else vae
    return vae, start.unet.float() if "unet" in recipe.start else unet


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

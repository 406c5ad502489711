"""From a model and some pictures of one's own to a model that draws such pictures.

The VAE, its scale and the tokenizer stay the model's. What learns is told by a `Learner`: `Whole`,
that is the U-Net and the text encoder together, or a few parameters beside them, see `additions`.
The loss is the one that they were trained with (Rombach et al. 2022, eq. 3), as in DreamBooth (Ruiz
et al. 2023), but with a caption for each picture and without its loss that keeps the old ones: what
the pictures do not show, a whole model forgets little by little.
"""

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..clip.tokenizer import Tokenizer, clean, clip_merges, word_pattern
from ..clip.vocabulary import decode, unlearnt
from ..models.embeddings import WithWords
from ..models.families import Family
from ..models.weights import Checkpoint
from ..runtime.warn import warn
from ..vae import VAE
from .data import Data
from .encoding import scaled_latents
from .loop import TrainConfig, train
from .modules import Base, Denoising, TextAndUNet
from .parallel import by_first, first_alone
from .recipe import check_dropped
from .record import begin
from .run import first_prompts, name_of, warn_of_cut, write
from .stages import DiffusionStage


@dataclass(frozen=True)
class FineTuning:
    """unet                                 how the U-Net and the text encoder are trained
    cond_drop_prob, logit_normal, gamma     see DiffusionStage
    """

    unet: TrainConfig
    cond_drop_prob: float
    logit_normal: bool
    gamma: float | None

    def __post_init__(self) -> None:
        check_dropped(self.cond_drop_prob)


FINE_TUNING = FineTuning(  # for some dozens of pictures and the built-in model
    TrainConfig(
        steps=300, batch=16, lr=3e-4, warmup=20, weight_decay=0.01, clip=1.0, ema=0.98, seed=0,
        save_every=100,
    ),
    cond_drop_prob=0.1, logit_normal=False, gamma=None,
)  # fmt: skip


class Learner(Protocol):
    """What learns, and the file that keeps it."""

    def told(self) -> Mapping[str, object]:
        """Its options: a training is not resumed with others."""

    def tokenizer(self, base: Tokenizer) -> Tokenizer:
        """The model's, or one that knows more words. ValueError: it cannot know them."""

    def module(
        self, base: Base, init: Checkpoint, tokenizer: Tokenizer, data: Data, seed: int
    ) -> Denoising:
        """base: copies of the networks of `init`, float32, on the device of the training"""

    def write(self, module: Denoising, init: Checkpoint, folder: Path) -> Path:
        """-> the file"""


class Whole:
    """The U-Net and the text encoder, in a model of their own."""

    def told(self) -> Mapping[str, object]:
        return {}

    def tokenizer(self, base: Tokenizer) -> Tokenizer:
        return base

    def module(
        self, base: Base, init: Checkpoint, tokenizer: Tokenizer, data: Data, seed: int
    ) -> TextAndUNet:
        return TextAndUNet(base.text, base.unet)

    def write(self, module: Denoising, init: Checkpoint, folder: Path) -> Path:
        """model.safetensors, float16; the family is called as the folder"""
        assert isinstance(module, TextAndUNet)
        family = replace(init.family, name=name_of(folder, init.family))
        return write(folder / "model.safetensors", family, module, init.vae, init.merges)


def fine_tune(
    init: Checkpoint,
    data: Data,
    recipe: FineTuning,
    folder: Path,
    device: torch.device | str = "cpu",
    autocast: bool = False,
    compile: bool = False,
    sample_prompts: Sequence[str] | None = None,
    learner: Learner | None = None,
) -> Path:
    """Teaches a model the pictures of `data`. -> the file of what was learnt; `init` stays as it is

    `folder` gets what `run` writes there, with "unet" as the only stage. device, autocast, compile,
    sample_prompts: see `run`; the prompts are the first captions if the learner is shown examples.
    learner: None for Whole(). ValueError if the folder holds a training of another model, with
    other data or another recipe, and for a model that this cannot train, see `check`. Warns of
    words that are no tokens, and of captions that are too long.
    """
    learner = Whole() if learner is None else learner
    options = recipe.cond_drop_prob, recipe.logit_normal, recipe.gamma
    named = dict(zip(("cond_drop_prob", "logit_normal", "gamma"), options))
    module, encoded, prompts = lesson(
        init, data, named, recipe.unet.seed, folder, device, autocast, sample_prompts, learner
    )
    stage = DiffusionStage(module, init.family, *encoded, *options, prompts)
    module = train(stage, recipe.unet, folder / "unet", "fine-tuning", autocast, compile)
    return by_first(lambda: learner.write(module, init, folder))


def lesson(
    init: Checkpoint,
    data: Data,
    options: Mapping[str, object],
    seed: int,
    folder: Path,
    device: torch.device | str,
    autocast: bool,
    sample_prompts: Sequence[str] | None,
    learner: Learner,
) -> tuple[Denoising, tuple[VAE, Tokenizer, Tensor, Tensor], list[str]]:
    """What learns, and from what: a stage's module; vae, tokenizer, latents and ids; its prompts.

    options: a training is not resumed with others; seed: of new weights; others, errors and
    warnings: see `fine_tune`.
    """
    check(init.family)
    (config,) = init.family.text
    tokenizer = learner.tokenizer(Tokenizer(init.merges, config.length, config.pad))
    with first_alone():
        told = {"init": fingerprint(init), **options, **learner.told()}
        begin(folder, told, data.contents())
    vae = deepcopy(init.vae).to(device).requires_grad_(False)
    scale, path = vae.config.scale, folder / "latents.safetensors"
    latents, captions = scaled_latents(vae, data, path, autocast, scale)

    check_taught(tokenizer, captions)
    warn_of_words(tokenizer, captions)
    warn_of_cut(tokenizer, captions, data)
    module = learner.module(base_of(init, device), init, tokenizer, data, seed)
    prompts = first_prompts(captions, sample_prompts)
    return module, (vae, tokenizer, latents, tokenizer(captions)), prompts


def base_of(init: Checkpoint, device: torch.device | str) -> Base:
    """Copies of a model's networks."""
    return Base(deepcopy(init.text[0]).to(device), deepcopy(init.unet).to(device))


def check(family: Family) -> None:
    """ValueError for a family whose U-Net is told something else than the one text that is trained
    here."""
    unet, text = family.unet, family.text
    if len(text) > 1 or unet.vector_width or unet.concat_channels:
        what = "more than the one text that this training has for it"
    elif text[0].layer != 1 or not text[0].final_norm:
        what = "another layer of its text encoder than the last, which this training gives it"
    else:
        return
    name = family.name[:60]
    raise ValueError(f"a model of the family {name!r} cannot go on learning: it reads {what}")


def check_taught(tokenizer: Tokenizer, captions: Sequence[str]) -> None:
    """ValueError if no caption has the words that the model is to learn beside its own."""
    if isinstance(tokenizer, WithWords):
        new = {id for _, ids in tokenizer.words for id in ids}
        if not any(new.intersection(tokenizer.encode(text)) for text in captions):
            raise ValueError("no caption has the word that is to be learnt: write it into them")


def fingerprint(model: Checkpoint) -> str:
    """Differs for models with different weights, whatever their files are called."""
    digest = hashlib.sha256()
    for network in (*model.text, model.unet, model.vae):
        for weight in network.state_dict().values():
            digest.update(weight.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def warn_of_words(tokenizer: Tokenizer, captions: Sequence[str]) -> None:
    """One warning for the words that the model cannot have learnt; none where its vocabulary is
    CLIP's."""
    if tokenizer.merges == clip_merges():
        return
    taught = tokenizer.known if isinstance(tokenizer, WithWords) else set[str]()
    words = dict.fromkeys(
        word
        for text in captions
        for word in word_pattern().findall(clean(text))
        if word.isalpha() and word not in taught
    )
    strange = unlearnt(tokenizer, words)  # not what is learnt in pieces, as CLIP's tokenizer has it
    if unknown := [word for word in words if word in strange]:
        shown = ", ".join(word[:20] for word in unknown[:8]) + ", ..." * (len(unknown) > 8)
        pieces = " ".join(decode(tokenizer, [i]) for i in tokenizer.encode(unknown[0])[:10])
        warn(
            f"the model has no token for {len(unknown)} of the captions' words, {shown}: it reads "
            f"them in pieces ({pieces}), whose meaning it learns from these pictures alone"
        )

"""How a judge of things is trained and measured: on true pictures, disturbed as drawn ones are.

All pairs of thing and style are learnt, also those that are held out from generators: a judge must
know what it is asked about. B pictures of S x S pixels, in -1..1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import update_bn

from ...images.saving import to_pil
from ...images.sheets import grid
from ..data import Image
from ..loop import TrainConfig, step_generator
from .collection import Collection, Entry
from .compositions import Composition, compose, render
from .judge import Judge, named_things, seen, thing_of

JUDGE = TrainConfig(4000, 64, 2e-3, 60, 0.05, 1.0, 0.99, seed=0, save_every=100)
FACES = 0.05  # this part of the examples; all else are things
SHARP = 16.0  # what cosines are multiplied by
CLEAN = 0.35  # this part stays as it is: what is disturbed is never quite as sharp
FRESH = 1_000_000  # seeds from here on are of pictures that training has not drawn


def alone(
    collection: Collection, i: int, plain: bool, rng: np.random.Generator
) -> tuple[Composition, Image]:
    """A thing large enough to be told from a thousand others, on a ground, and its picture."""
    while True:
        scene = compose(collection, (i,), "alone", plain, rng)
        if scene.size != "small":
            size = collection.pictures.shape[1]
            return scene, render(collection, scene, size, rng)


def disturbed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each a little moved, zoomed, turned, coloured, blurred and noisy. (B, 3, S, S)"""
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    angle, zoom = uniform(-0.08, 0.08), uniform(0.92, 1.1, 2)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * zoom[:, 0], -angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), angle.cos() * zoom[:, 1]
    theta[:, :, 2] = uniform(-0.08, 0.08, 2)
    where = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    x = F.grid_sample(pictures, where, padding_mode="border", align_corners=False)
    x = x * uniform(0.85, 1.15, 3, 1, 1) + uniform(-0.1, 0.1, 3, 1, 1)
    smooth = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = x + (smooth - x) * uniform(-0.5, 1, 1, 1, 1).clamp(min=0)
    noise = torch.randn(x.shape, generator=generator)
    return (x + noise * uniform(-0.05, 0.12, 1, 1, 1).clamp(min=0)).clamp(-1, 1)


def codes(collection: Collection, width: int) -> Tensor:
    """Every picture as one vector of length 1: its principal components, evened out
    but not wholly, so that small differences count as well. (N, width)"""
    pictures = torch.from_numpy(collection.pictures).permute(0, 3, 1, 2)  # (N, 4, S, S)
    parts = (F.adaptive_avg_pool2d(p.float() / 255, 16) for p in torch.split(pictures, 500))
    colours, alpha = torch.cat(list(parts)).split_with_sizes([3, 1], dim=1)
    small = torch.cat([(colours - 0.5) * alpha, alpha], dim=1).flatten(1)  # (N, 1024)
    small = small - small.mean(0)
    _, deviations, axes = torch.linalg.svd(
        small[:: max(1, len(small) // 4000)], full_matrices=False
    )
    axes, deviations = axes[:width], deviations[:width]
    code = small @ axes.T * deviations.clamp(min=1e-6) ** -0.75  # (N, at most width)
    return F.normalize(F.pad(code, (0, width - code.shape[1])), dim=1)


@dataclass
class JudgeStage:
    """Cross-entropy of the thing in a picture, and of which of the batch's pictures it is.

    The second compares the code that the network finds with the fixed `codes` of the batch
    (InfoNCE, van den Oord et al. 2018). It is there because names alone teach slowly: a thing must
    be found on its ground and brought to one size first, and codes say how near a guess is.
    """

    module: Judge
    collection: Collection

    def __post_init__(self) -> None:
        entries = self.collection.entries
        self.numbers = numbers(self.module, self.collection)
        self.codes = codes(self.collection, self.module.widths[-1])
        self.faces = [i for i, entry in enumerate(entries) if entry.parts]
        self.others = [i for i, entry in enumerate(entries) if not entry.parts]

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Pictures (B, 3, S, S), and of which entries (B,)."""
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        images, chosen = [], []
        for _ in range(batch):
            face = self.faces and (not self.others or rng.random() < FACES)
            i = int(rng.choice(self.faces if face else self.others))
            images.append(alone(self.collection, i, False, rng)[1])
            chosen.append(i)
        pictures = seen(images)
        clean = torch.rand(batch, 1, 1, 1, generator=generator) < CLEAN
        pictures = torch.where(clean, pictures, disturbed(pictures, generator))
        return {"pictures": pictures, "chosen": torch.tensor(chosen)}

    def loss(self, module: Judge, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        chosen, device = drawn["chosen"], module.thing.weight.device
        code, logits = (part.float() for part in module(drawn["pictures"].to(device)))
        things = self.numbers[chosen].to(device)
        thing = F.cross_entropy(logits, things, label_smoothing=0.05)
        alike = SHARP * F.normalize(code, dim=1) @ self.codes[chosen].to(device).T  # (B, B)
        same = F.cross_entropy(alike, torch.arange(len(chosen), device=device))
        right = (logits.argmax(1) == things).float().mean()
        return {"loss": thing + same, "thing": thing, "same": same, "right": right}

    def settle(self, module: Judge, batches: int = 20, batch: int = 128) -> Judge:
        """Batch norm's means and variances anew, for weights that are an average of others'."""
        generators = (step_generator(FRESH, k) for k in range(batches))
        device = module.thing.weight.device
        update_bn((self.draw(batch, g)["pictures"].to(device) for g in generators), module)
        return module

    def sample(self, module: Judge, path: Path) -> None:
        """Pictures as the judge sees them."""
        grid(to_pil(self.draw(48, step_generator(FRESH, 0))["pictures"]), 8).save(path)


def numbers(judge: Judge, collection: Collection) -> Tensor:
    """Which of the judge's things each picture of a collection shows. (N,)"""
    places = {thing: i for i, thing in enumerate(judge.things)}
    return torch.tensor([places[thing_of(entry)] for entry in collection.entries])


def new_judge(collection: Collection, seed: int = JUDGE.seed) -> Judge:
    """It begins with the mean code of each thing as the row that tells it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge(named_things(collection))
    width = judge.widths[-1]
    means = torch.zeros(len(judge.things), width)
    means.index_add_(0, numbers(judge, collection), codes(collection, width))
    with torch.no_grad():
        judge.thing.weight.copy_(F.normalize(means, dim=1))
        judge.thing.bias.zero_()
    return judge


def true_pictures(
    collection: Collection, count: int, seed: int = FRESH
) -> tuple[list[Entry], list[Image]]:
    """Things drawn from the whole collection, each on a ground of one or two colours; none is a
    face."""
    others = [i for i, entry in enumerate(collection.entries) if not entry.parts]
    entries, images = [], []
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        i = int(rng.choice(others))
        entries.append(collection.entries[i])
        images.append(alone(collection, i, False, rng)[1])
    return entries, images

"""Which kinds of additions are known, for which families; and the page that says it.

    python tests/test_addition_table.py

writes the page, ldm/models/additions.md.
"""

from functools import cache
from pathlib import Path

import pytest
import torch

import addition_files as files
import loras
import pages
from helpers import latents, normal, random_picture
from ldm.clip.model import TextEncoder
from ldm.clip.tokenizer import Tokenizer
from ldm.models.control import read_control
from ldm.models.embeddings import read_embedding
from ldm.models.families import FAMILIES
from ldm.models.family import NoInitialisation
from ldm.models.hypernetworks import read_hypernetwork
from ldm.models.weights import inspect
from ldm.models.weights.vae import read_vae
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.unet import UNet
from lora_table import NAMES, lora_row
from tiny_families import SMALL, random_model

PAGE = Path(__file__).parent.parent / "ldm/models/additions.md"
TEXT = """# What can be added to a model, and to which

Computed by `tests/test_addition_table.py`, which writes this page, and as a test compares it.

- *recognised*: a file for the family at its full size is told by `ldm inspect`, and by
  `ldm.inspect`, to be of the kind and for the family. (Its tensors are holes; only LoRAs are small
  enough to be whole.)
- *applied*: on a small model of the family, what it draws changes, and without the addition it is
  the same bits as before. Of a LoRA every layer changes the weights, and taken back they are the
  same bits.
- *refused by*: the models of other families for which it is an error, which names the family that
  the file is for.

{others}

*1*: their latents are the same, and so are the VAEs' sizes; only those of another size are refused.
*2*: the U-Nets of Stable Diffusion 1 and 2 have the same channels, which is all that it meets.
*3*: SDXL's first text encoder is that of Stable Diffusion 1, which takes the vectors for that one.

## LoRAs

There is a file for each kind and each of {families}: of
attention with and without the text, projections, a convolution, and layers of the text encoders.

{loras}

What each computes stands in [`kinds.py`](lora/kinds.py), [`rotation.py`](lora/rotation.py) and
[`dora.py`](lora/dora.py), each formula with its paper; the
[tests](../../tests/test_lora_kinds.py) evaluate it once more by hand, and compare it with
lycoris-lora and with diffusers and peft. The strength multiplies the change of a weight, whatever
the kind; only DoRA's, which programs understand differently, follows `--compat`.
"""
HEAD = "kind", "recognised", "applied", "refused by"
OF_TEXT = "sd1", "sd2", "sdxl"
OTHERS = {
    "embedding": OF_TEXT, "ControlNet, original": OF_TEXT, "ControlNet, diffusers": OF_TEXT,
    "ControlNet, difference": OF_TEXT, "control-LoRA": OF_TEXT, "ControlNet, union": OF_TEXT,
    "T2I-Adapter, full": OF_TEXT, "T2I-Adapter, light": OF_TEXT[:2],
    "IP-Adapter": ("sd1", "sdxl"), "IP-Adapter, plus": ("sd1", "sdxl"), "hypernetwork": OF_TEXT,
    "VAE": OF_TEXT, "TAESD": OF_TEXT,
}  # fmt: skip
WHAT = {  # the beginning of what `inspect` calls it
    "embedding": "an embedding", "hypernetwork": "a hypernetwork",
    "ControlNet, original": "a ControlNet, with the original's names",
    "ControlNet, diffusers": "a ControlNet, with diffusers' names",
    "ControlNet, difference": "a ControlNet, as the difference", "control-LoRA": "a control-LoRA",
    "ControlNet, union": "a ControlNet for several kinds", "VAE": "a VAE with CompVis's names",
    "T2I-Adapter, full": "a T2I-Adapter", "T2I-Adapter, light": "a T2I-Adapter",
    "TAESD": "a tiny autoencoder (TAESD): encoder and decoder",
    "IP-Adapter": "an IP-Adapter that sees with CLIP's ViT-H/14",
    "IP-Adapter, plus": "an IP-Adapter that sees with CLIP's ViT-H/14",
}  # fmt: skip
LATENTS = "x4-upscaler"  # whose VAE is another
NOTES = {  # of what is not refused by all others
    "VAE": "x4-upscaler 1", "TAESD": "x4-upscaler 1", "embedding": "all others 3",
    "T2I-Adapter, full": "all others 2", "T2I-Adapter, light": "all others 2",
}  # fmt: skip
TAKEN = {("T2I", "sd1", "sd2"), ("T2I", "sd2", "sd1"), ("emb", "sdxl", "sd1")}


def written(kind, family, path, full):
    if kind == "embedding":
        found = files.embedding(family)
    elif kind == "hypernetwork":
        found = files.hypernetwork(family, full)
    elif kind in ("VAE", "TAESD"):
        found = files.tiny_vae(family) if kind == "TAESD" else files.vae(family, full)
    else:
        found = files.control(kind, family, full)
    return files.write(path, found)


def recognised(kind, path, name):
    found = inspect(path)
    return found.loadable and found.what.startswith(WHAT[kind]) and name in found.families


@cache
def small_model(name):
    checkpoint = random_model(SMALL[name])
    tokenizer = Tokenizer(checkpoint.merges, checkpoint.family.text[0].length)
    return LatentDiffusion(
        checkpoint.text, checkpoint.unet, checkpoint.vae, tokenizer, checkpoint.family
    )


def applied(kind, name, folder):
    """Whether it changes what is drawn, which is as before without it."""
    path, model = written(kind, SMALL[name], folder / "fur.safetensors", False), small_model(name)
    if kind in ("VAE", "TAESD"):
        other, z = read_vae(path, model.family)[0], normal(1, 4, 4, 4)
        return not torch.equal(other.decode(z), model.vae.decode(z))
    asked = {"prompt": "a fur", "width": 64, "height": 64, "steps": 2, "sampler": "euler"}
    more = {"embedding_dir": str(folder)}
    if kind == "hypernetwork":
        more = {"hypernetwork": str(path)}
    elif kind != "embedding":
        random_picture(64, 64).save(folder / "hint.png")
        more = {"control": str(path), "control_image": str(folder / "hint.png")}
    if kind.startswith("IP"):
        more["vision_tower"] = str(files.tower(folder / "tower.pt"))
    before, there, after = (latents(model, Request(**asked, **x)) for x in ({}, more, {}))
    return torch.equal(before, after) and not torch.equal(before, there)


@cache
def hollow(name):
    """The U-Net and the text encoders at full size, without memory."""
    with torch.device("meta"), NoInitialisation():
        return UNet(FAMILIES[name].unet), [TextEncoder(x) for x in FAMILIES[name].text]


def refusal(kind, path, other):
    """The error of a file on a family; None: it is taken."""
    unet, towers = hollow(other) if kind not in ("VAE", "TAESD") else (None, None)
    try:
        if towers is None:
            read_vae(path, FAMILIES[other])
        elif kind == "embedding":
            read_embedding(path).of_towers(towers)
        elif kind == "hypernetwork":
            read_hypernetwork(path, FAMILIES[other], unet)
        else:
            read_control(path, FAMILIES[other], unet)
    except ValueError as error:
        return str(error)
    return None


def names(told, kind, name, other):
    """Whether an error says for which family a file is, and which the model's is."""
    if kind in ("VAE", "TAESD"):
        return f"8 times smaller than a picture; those of {other} are 4 times" in told
    if kind == "embedding":
        return f"as those of {name} are" in told
    return f" {name}," in told and f"this model is of {other}; " in told


def check_refused(kind, name, path):
    latent = kind in ("VAE", "TAESD")
    for other in {*OF_TEXT, *[LATENTS] * latent} - {name}:
        told = refusal(kind, path, other)
        taken = (latent and other != LATENTS) or (kind[:3], name, other) in TAKEN
        assert told is None if taken else names(told, kind, name, other), (kind, name, other, told)


def other_row(kind, folder):
    of, on = [], []
    for name in OTHERS[kind]:
        path = written(kind, FAMILIES[name], folder / f"{name}.safetensors", True)
        of += [name] * recognised(kind, path, name)
        check_refused(kind, name, path)
        path.unlink()
        (own := folder / name).mkdir()
        on += [name] * applied(kind, name, own)
    return kind, ", ".join(of), ", ".join(on), NOTES.get(kind, "all others")


# The page


@pytest.fixture(scope="module")
def rows():
    return {}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_is_known_applied_and_refused(kind, rows, tmp_path):
    rows[kind] = other_row(kind, tmp_path)
    every = ", ".join(OTHERS[kind])
    assert rows[kind][1:3] == (every, every)


@pytest.mark.parametrize("kind", loras.KINDS)
def test_every_lora_is_read_for_every_family_and_for_it_alone(kind, rows, tmp_path):
    rows[kind] = lora_row(kind, tmp_path)
    assert rows[kind] == (kind, "all five", "all five", "all others")


def page(rows):
    parts = {
        "others": pages.table(HEAD, [rows[kind] for kind in OTHERS]),
        "loras": pages.table(HEAD, [rows[kind] for kind in loras.KINDS]),
    }
    return TEXT.format(families=f"{', '.join(NAMES[:-1])} and {NAMES[-1]}", **parts)


def test_the_page_is_true(rows):
    assert [*rows] == [*OTHERS, *loras.KINDS], "run the whole file"
    pages.assert_true(PAGE, page(rows), __file__)


def computed(folder):
    found = {}
    for kind in (*OTHERS, *loras.KINDS):
        (own := folder / kind).mkdir()
        found[kind] = (other_row if kind in OTHERS else lora_row)(kind, own)
    return page(found)


if __name__ == "__main__":
    pages.write(__doc__, PAGE, computed)

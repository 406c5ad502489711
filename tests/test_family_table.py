"""What can be done with each family, on small models of all of them; and the page that says it.

    python tests/test_family_table.py

writes the page, ldm/models/README.md.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import ldm
import pages
from helpers import pixels, random_picture
from ldm.clip.tokenizer import Tokenizer
from ldm.models.families import FAMILIES
from ldm.models.family import parameter_shapes
from ldm.models.unread import without_unread_layers
from ldm.models.weights import inspect
from ldm.pipeline.model import LatentDiffusion
from tiny_families import SMALL, random_model, vae_factor

README = Path(__file__).parent.parent / "ldm/models/README.md"
PAGE = """# What can be done with each family

Computed by `tests/test_family_table.py`, which writes this page, and as a test compares it: of each
entry of [`families.py`](families.py) a small model, of its structure and of random weights, draws,
is saved, inspected and loaded again.

- *U-Net*: millions of parameters, of the family itself.
- *predicts*, *told*: what the U-Net predicts, and what it is told beside the text and the time; see
  [`makers`](../pipeline/makers).
- *txt2img, img2img, inpaint*: two steps of the family's own sampler make a picture of the size that
  was asked for, from a seed the same and from another seed another; outside of the mask no pixel
  changes, inside of it they do.
- *ldm, compvis, diffusers*: inspected, the saved model is complete and of this family; loaded, it
  draws the same pixels, to one grey level. The files of CompVis's names are read without their
  header, as other programs write them. Small sizes tell no family, so that it is given for these;
  that the shapes of the published files tell it,
  [`test_manifests.py`](../../tests/test_manifests.py) holds.

{table}

{reasons}

Beside these there are [models of few steps](../samplers/README.md#models-of-few-steps), which are
of a family's networks and are used in another way.
"""
LAYOUTS = ("ldm", "compvis", "diffusers")
HEAD = ("family", "U-Net", "predicts", "told", "txt2img", "img2img", "inpaint", *LAYOUTS)


def cells(name, folder):
    """By column "yes", or the error that says what is missing."""
    checkpoint = random_model(SMALL[name])
    tokenizer = Tokenizer(checkpoint.merges, checkpoint.family.text[0].length)
    parts = checkpoint.text, checkpoint.unet, checkpoint.vae, tokenizer
    model = LatentDiffusion(*parts, checkpoint.family)
    model.others = checkpoint.others
    doors = {"txt2img": drawn, "img2img": changed, "inpaint": inpainted}
    row = {column: tried(partial(door, model)) for column, door in doors.items()}
    return row | {layout: tried(partial(kept, model, layout, folder)) for layout in LAYOUTS}


def tried(function):
    try:
        function()
    except ValueError as error:
        return str(error)
    return "yes"


def usage(family):
    """How its pictures are asked for, with all that a diffusers folder does not say."""
    names = ("sampler", "schedule", "guidance_scale")
    return {"steps": 2} | {name: getattr(family, name) for name in names}


def side(family):
    """Of the pictures that are made, in pixels."""
    return vae_factor(family) * 2 ** len(family.unet.channels)


def looked_at(family, draw):
    """The pixels of a drawing, which is another of another seed."""
    one, again, other = (draw(seed=seed, **usage(family)) for seed in (5, 5, 6))
    assert one.shape == (side(family), side(family), 3)
    assert (one == again).all()
    assert (one != other).mean() > 0.1
    return one


def drawn(model):
    sides = {"width": side(model.family), "height": side(model.family)}
    looked_at(model.family, lambda **asked: pixels(model.txt2img("cat", **sides, **asked)[0]))


def from_picture(model, family, mask=None, **asked):
    """Pixels made of the picture of a family, and of its depth where it is told that."""
    picture, told = start(family), family.conditioning
    depth = {"depth": picture.convert("L")} if "depth" in told else {}
    if mask is None and "low_resolution" not in told:
        asked["strength"] = family.strength
    job = model.resolve(ldm.Request("cat", **asked), picture, mask, **depth)
    return pixels(model.generate(job)[0])


def start(family):
    told = family.conditioning
    width = side(family) // (vae_factor(family) if "low_resolution" in told else 1)
    return random_picture(width, width)


def changed(model):
    looked_at(model.family, partial(from_picture, model, model.family))


def inpainted(model):
    picture = start(model.family)
    half = picture.width // 2
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, half, picture.height))
    drawn = looked_at(model.family, partial(from_picture, model, model.family, mask))
    same = (drawn == pixels(picture)).all(-1)
    assert same[:, half:].all()
    assert same[:, :half].mean() < 0.1


def kept(model, layout, folder):
    path, given = folder / (layout if layout == "diffusers" else f"{layout}.safetensors"), None
    model.save(path, layout)
    if layout == "compvis":
        given = model.family
        merges = "\n".join(map(" ".join, model.tokenizer.merges))
        save_file(load_file(path), path, {"merges": merges})
    report = inspect(path, family=given)
    assert report.loadable, report
    assert not report.match.unknown
    found, family = report.family, without_unread_layers(model.family)
    for field in ("unet", "vae", "conditioning", "prediction", "zero_snr", "train_steps"):
        assert getattr(found, field) == getattr(family, field)
    assert without_unread_layers(found).text == family.text
    again = ldm.load(path, "cpu", torch.float32, family=given)
    one, other = (from_picture(x, model.family, **usage(model.family)) for x in (model, again))
    assert np.abs(one.astype(int) - other).max() <= 1  # the weights lie elsewhere in memory


# The page


def table(rows):
    """The rows as lines, and below them the reasons why something cannot be."""
    lines, reasons = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)], {}
    for name, row in rows.items():
        texts = [name, parameters(name), FAMILIES[name].prediction, ", ".join(FAMILIES[name].told)]
        for column in HEAD[len(texts) :]:
            said = row[column]
            letter = said if said == "yes" else reasons.setdefault(said, "abcdefgh"[len(reasons)])
            texts.append(letter)
        lines.append(f"| {' | '.join(texts)} |")
    below = [f"- *{letter}*: {reason}" for reason, letter in reasons.items()]
    return "\n".join(lines), "\n".join(below)


def parameters(name):
    """Of the U-Net at full size, in millions."""
    shapes = parameter_shapes(FAMILIES[name]).items()
    return str(round(sum(x.numel() for key, x in shapes if key.startswith("unet.")) / 1e6))


def page(rows):
    lines, reasons = table(rows)
    return PAGE.format(table=lines, reasons=reasons)


@pytest.fixture(scope="module")
def rows():
    return {}


NEEDS = {  # all else can be done
    **{
        (name, "txt2img"): "this model edits a picture: give --image"
        for name in ("instruct-pix2pix", "sdxl-instruct-pix2pix", "cosxl-edit")
    },
    ("sd2-depth", "txt2img"): "this model draws after the depth of a picture: give --image, or "
    "--depth",
    ("x4-upscaler", "txt2img"): "this model makes a picture larger: give --image",
    ("x4-upscaler", "inpaint"): "mask cannot be used with an upscaler "
    "(stable-diffusion-x4-upscaler): leave it out",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_all_can_be_done_or_there_is_a_reason(name, rows, tmp_path):
    rows[name] = cells(name, tmp_path)
    expected = {column: NEEDS.get((name, column), "yes") for column in rows[name]}
    assert rows[name] == expected


def test_the_page_is_true(rows):
    assert rows.keys() == FAMILIES.keys(), "run the whole file"
    pages.assert_true(README, page(rows), __file__)


def computed(folder):
    for name in FAMILIES:
        (folder / name).mkdir()
    return page({name: cells(name, folder / name) for name in FAMILIES})


if __name__ == "__main__":
    pages.write(__doc__, README, computed)

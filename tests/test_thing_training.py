"""The recipe of the pictures of things, in small, and the scripts that build and train on them."""

import torch

import ldm
from ldm.clip.model import TextEncoder
from ldm.training.recipe import changed
from ldm.training.run import run
from ldm.training.things.collection import save
from ldm.training.things.data import Things
from ldm.training.things.recipe import THINGS64
from ldm.unet import UNet
from ldm.vae import VAE
from small_things import SIDE, collection
from test_scripts import ROOT
from test_scripts import run as run_script

TINY = [
    "family.text.0.width=16",
    "family.text.0.heads=2",
    "family.text.0.layers=1",
    "family.text.0.mlp_width=16",
    "family.unet.channels=[8, 8, 8]",
    "family.unet.context_width=16",
    "family.unet.head_width=8",
    "family.vae.channels=[8, 8, 8]",
    f"family.size={SIDE}",
    "start=[]",
    "scenes=24",
    "crop=16",
    *(f"{stage}.{what}" for stage in ("vae", "text", "unet", "joint", "decoder")
      for what in ("steps=2", "batch=8")),
]  # fmt: skip


def test_the_recipe_becomes_a_model_that_reads_both_languages(tmp_path):
    data = Things(collection(), 24, SIDE)
    path = run(changed(THINGS64, TINY), data, tmp_path / "things", sample_prompts=["an apple"])
    model = ldm.load(path, device="cpu")
    assert model.tokenizer.merges  # of CLIP's or learnt
    assert model.txt2img(["an apple", "苹果"], steps=2)[1].size == (SIDE, SIDE)


def test_the_model_is_small_enough_to_ship():
    """At most 45 MB in half precision, a vocabulary of 8,192 included."""
    family = THINGS64.family
    with torch.device("meta"):
        networks = UNet(family.unet), VAE(family.vae), TextEncoder(family.text[0])
    counts = [sum(weight.numel() for weight in network.parameters()) for network in networks]
    assert 2 * sum(counts) < 45e6
    assert 8e6 < counts[0] < 15e6


def test_a_missing_collection_is_one_line(tmp_path):
    script = ROOT / "scripts/train.py"
    done = run_script(tmp_path, script, "--outdir", "out", "--recipe", "things64")
    assert done.returncode == 1
    assert done.stderr.startswith("train.py: error: there is no file 'data/things64.safetensors'")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_sheet_shows_examples_of_what_was_built(tmp_path):
    things = collection()
    save(tmp_path / "x.safetensors", list(things.pictures), things.entries)
    script = ROOT / "scripts/build_pictures.py"
    done = run_script(
        tmp_path, script, "--out", "x.safetensors", "--size", SIDE, "--sheet", "s.png"
    )
    assert (done.returncode, done.stdout) == (0, "s.png\n"), done.stderr
    assert (tmp_path / "s.png").stat().st_size > 10_000


def test_without_npm_building_ends_in_one_line(tmp_path):
    done = run_script(tmp_path, ROOT / "scripts/build_pictures.py")  # with an empty PATH
    assert done.returncode == 1
    assert done.stderr.startswith("build_pictures.py: error: npm, which fetches")
    assert not list(tmp_path.rglob("*.safetensors"))

"""A file that is given to a flag of another kind of files is refused by what it is, and by the flag
that takes it."""

import pytest
import torch
from safetensors.torch import save_file

import addition_files
import hypernetworks
from helpers import normal, random_picture
from ldm.models.weights import CheckpointError
from ldm.pipeline.about import add_files
from ldm.request import Request

KINDS = {  # what it is, and the flag that takes it
    "lora": ("a LoRA, 1 layers", "--lora"),
    "hypernetwork": ("a hypernetwork, which changes contexts 768, 16 wide", "--hypernetwork"),
    "embedding": ("an embedding of 2 vectors, 768 wide", "--embedding_dir"),
    "vae": ("a VAE with CompVis's names", "--vae"),
    "control": ("a ControlNet", "--control"),
    "ckpt": ("a checkpoint of tiny", "--ckpt"),
}


@pytest.fixture
def files(tiny, tiny_file, tmp_path):
    """One of each kind; a pickle of the web UI's is among them."""
    down = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_{}.weight"
    lora = {down.format("down"): normal(2, 16), down.format("up"): normal(16, 2)}
    for name, tensors in (
        ("lora", lora), ("embedding", {"emb_params": normal(2, 768)}),
        ("vae", addition_files.vae(tiny.family, full=False)),
        ("control", addition_files.control("ControlNet, original", tiny.family, full=False)),
    ):  # fmt: skip
        save_file({name: x.contiguous() for name, x in tensors.items()}, tmp_path / f"{name}.st")
    torch.save(hypernetworks.saved(hypernetworks.pairs((768, 16))), tmp_path / "hypernetwork.st")
    random_picture(16, 16).save(tmp_path / "picture.png")
    found = {name: tmp_path / f"{name}.st" for name in KINDS}
    return {**found, "ckpt": tiny_file, "picture": tmp_path / "picture.png"}


@pytest.mark.parametrize("given", KINDS)
@pytest.mark.parametrize("flag", ["lora", "hypernetwork", "control", "vae"])
def test_it_is_refused_by_what_it_is(flag, given, files, tiny):
    if given == flag or (flag, given) == ("vae", "ckpt"):
        return
    what, right = KINDS[given]

    def give():
        if flag == "vae":
            return add_files(tiny, None, files[given])
        more = {"control_image": str(files["picture"])} if flag == "control" else {}
        return tiny.resolve(Request("a cat", **{flag: str(files[given])}, **more))

    with pytest.raises(CheckpointError, match=what) as error:
        give()
    assert f": give it to {right}, not to --{flag}" in str(error.value)

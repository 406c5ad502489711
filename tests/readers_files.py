"""The files that a reader of the README brings, by its names for them: small, of random weights."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

import hypernetworks
import loras
from clip_files import WIDTH as VECTOR
from clip_files import openclip, reads_words
from controls import hint_widths, randomised, saved, their_adapter, their_controlnet
from helpers import normal
from ip_adapters import ip_adapter
from ldm.models.control.loading import names_of
from ldm.models.keymaps import prefixes
from ldm.models.keymaps.control import controlnet_rows
from ldm.models.weights import Checkpoint, save
from ldm.models.weights.saving import renamed
from ldm.unet.controlnet import ControlNet
from test_taesd import both, theirs
from tiny_families import SMALL, random_model
from upscaler_files import esrgan

FAMILIES = {
    "v1-5-pruned-emaonly.safetensors": "sd1",
    "sd_xl_base_1.0.safetensors": "sdxl",
    "sd_xl_refiner_1.0.safetensors": "sdxl-refiner",
    "sd-v1-5-inpainting.ckpt": "sd1-inpainting",
    "512-depth-ema.ckpt": "sd2-depth",
    "x4-upscaler-ema.ckpt": "x4-upscaler",
    "instruct-pix2pix-00-22000.safetensors": "instruct-pix2pix",
    "sd21-unclip-h.ckpt": "sd2-unclip-h",
}


def make_all(folder: Path) -> None:
    for name, family in FAMILIES.items():
        make_model(folder / name, family)
    make_model(folder / "mine.safetensors", "sd1", seed=1)
    make_controls(folder)
    make_loras(folder / "loras")
    make_embeddings(folder / "words")
    make_vaes(folder)
    torch.save({"params_ema": esrgan()}, folder / "RealESRGAN_x4plus.pth")
    brush = hypernetworks.pairs(hypernetworks.widths_of(SMALL["sd1"].unet))
    torch.save(hypernetworks.saved(brush), folder / "brush.pt")
    torch.save(reads_words().state_dict(), folder / "ViT-L-14.pt")


def small(name: str, seed: int = 0) -> Checkpoint:
    # with room for a watermark, and for a picture without tiles
    side = 256 if name in ("sd1", "x4-upscaler") else SMALL[name].size
    return random_model(replace(SMALL[name], size=side, steps=2), seed)


def make_model(path: Path, name: str, seed: int = 0) -> None:
    """What a file holds does not depend on the ending of its name."""
    save(path.with_name("model.safetensors"), small(name, seed))
    path.with_name("model.safetensors").rename(path)


def make_controls(folder: Path) -> None:
    """A ControlNet by its makers' names, a union and an adapter by diffusers', and an IP-Adapter
    with the vision tower that it sees with."""
    sd1, sdxl = SMALL["sd1"], SMALL["sdxl"]
    state = randomised(ControlNet(sd1.unet, hint_widths(sd1)), 1).state_dict()
    names = names_of(controlnet_rows(sd1.unet, 6), "compvis")
    torch.save({names[ours]: state[ours] for ours in names}, folder / "control_v11p_sd15_canny.pth")
    saved(their_controlnet(sdxl, union=True), folder / "union.safetensors")
    saved(their_adapter(sdxl, "full_adapter_xl"), folder / "t2i-adapter.safetensors")
    tower = openclip(dtype=torch.float32)
    torch.save(ip_adapter("linear", sd1.unet, vector=VECTOR), folder / "ip-adapter_sd15.bin")
    (folder / "image_encoder").mkdir()
    saved(tower, folder / "image_encoder/model.safetensors")


def make_loras(folder: Path) -> None:
    folder.mkdir()
    for name, kind in (("fur", "LoRA"), ("ink", "LoHa")):
        loras.write(folder / f"{name}.safetensors", loras.tensors(SMALL["sd1"], kind))


def make_embeddings(folder: Path) -> None:
    folder.mkdir()
    for name, vectors in (("mystyle", 3), ("badhands", 2)):
        save_file(
            {"emb_params": normal(vectors, SMALL["sd1"].text[0].width)},
            folder / f"{name}.safetensors",
        )


def make_vaes(folder: Path) -> None:
    """One alone, and the author's two pairs of TAESD."""
    another = small("sd1", seed=2)
    begin = prefixes(another.family, "compvis")["vae"]
    save_file(
        {
            name.removeprefix(begin): tensor.contiguous()
            for name, tensor in renamed(another, "compvis").items()
            if name.startswith(begin)
        },
        folder / "vae-ft-mse-840000-ema-pruned.safetensors",
    )
    tiny = theirs(levels=3).float()
    both(tiny, folder, ".safetensors")
    (folder / "xl").mkdir()
    both(tiny, folder / "xl").rename(folder / "taesdxl_decoder.pth")

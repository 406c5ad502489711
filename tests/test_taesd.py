"""The tiny autoencoder against diffusers' on the same random weights, in each of its layouts."""

import re

import pytest
import torch
from safetensors.torch import save_file

import ldm
from helpers import names, normal
from ldm.cli import main
from ldm.models.weights import CheckpointError, inspect
from ldm.models.weights.taesd import opened_pair, read_decoder, read_pair, taesd_config

LEVELS, WIDTH = 1, 12  # of one that fits the tiny model, whose VAE halves its pictures once


def theirs(levels=LEVELS, width=WIDTH, latents=4):
    """diffusers' AutoencoderTiny of random weights; TAESD itself has 3 levels below the finest."""
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return diffusers.AutoencoderTiny(
            encoder_block_out_channels=(width,) * (levels + 1),
            decoder_block_out_channels=(width,) * (levels + 1),
            num_encoder_blocks=(1, *(3,) * levels), num_decoder_blocks=(*(3,) * levels, 1),
            latent_channels=latents,
        ).eval().double()  # fmt: skip


def authors(network):
    """The tensors by the names in the author's files, where the decoder's layers count from the one
    that clamps."""
    found = {}
    for name, tensor in network.state_dict().items():
        half, number, rest = re.fullmatch(r"(\w+)\.layers\.(\d+)\.(.*)", name).groups()
        found[f"{half}.{int(number) + (half == 'decoder')}.{rest}"] = tensor.contiguous()
    return found


def of_half(half, tensors):
    return {
        name.removeprefix(f"{half}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{half}.")
    }


def diffusers_folder(network, folder):
    network.float().save_pretrained(folder / "tiny")
    return folder / "tiny"


def joint(network, folder, begin=""):
    path = folder / "taesd.safetensors"
    save_file({begin + name: tensor for name, tensor in authors(network).items()}, path)
    return path


def both(network, folder, suffix=".pth"):
    for half in ("encoder", "decoder"):
        tensors, path = of_half(half, authors(network)), folder / f"taesd_{half}{suffix}"
        torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
    return path


WAYS = {
    "the author's pair": both,
    "the pair's other half": lambda n, f: both(n, f).with_name("taesd_encoder.pth"),
    "a folder of the pair": lambda n, f: both(n, f, ".safetensors").parent,
    "joint": joint,
    "joint, as ComfyUI writes it": lambda n, f: joint(n, f, "taesd_"),
    "diffusers' folder": diffusers_folder,
    "the file in it": lambda n, f: next(diffusers_folder(n, f).glob("*.safetensors")),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_equals_diffusers_in_each_layout(way, tmp_path):
    network = theirs()
    pair = opened_pair(WAYS[way](network, tmp_path))
    own, network = read_pair(pair, taesd_config(pair, 0.5)).double(), network.float().double()
    images, latents = normal(3, 3, 22, 14, dtype=torch.float64), 2 * normal(3, 4, 5, 7).double()
    with torch.no_grad():
        for ours, other in (
            (own.encode(images), network.encode(images).latents),
            (own.decode(latents), network.decode(latents).sample),
            (own.decode(latents / 0.5, scaled=False), network.decode(latents).sample),
            (own.encode(images, scaled=False) * 0.5, network.encode(images).latents),
        ):
            torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-9)


def test_it_equals_diffusers_at_full_size(tmp_path):
    network = theirs(3, 64).float()
    pair = opened_pair(both(network, tmp_path))
    config = taesd_config(pair, 0.18215)
    assert (config.factor, config.channels, config.latent_channels) == (8, (64,) * 4, 4)
    own, images = read_pair(pair, config), normal(2, 3, 40, 72)
    with torch.no_grad():
        latents = own.encode(images)
        assert latents.shape == (2, 4, 5, 9)
        torch.testing.assert_close(latents, network.encode(images).latents, atol=1e-5, rtol=1e-5)
        pictures, decoder = network.decode(latents).sample, read_decoder(pair, config)
        torch.testing.assert_close(own.decode(latents), pictures, atol=1e-5, rtol=1e-5)
        assert torch.equal(decoder(latents), own.decode(latents))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.3.conv.2.weight": None}, "its 3.conv.2.weight is missing"),
        ({"decoder.9.pool.weight": torch.zeros(3)}, None),  # of no layer: not read
        ({"decoder.8.conv.6.weight": torch.zeros(3)}, "it has a decoder 8.conv.6.weight"),
        ({"encoder.1.conv.0.bias": torch.zeros(5)}, r"1.conv.0.bias has shape \(5,\)"),
        ({"encoder.0.bias": torch.full((WIDTH,), torch.nan)}, "12 values that are NaN or inf"),
        ({"decoder.30.weight": torch.zeros(3, 3)}, "without a decoder of a known kind"),
    ],
)
def test_what_is_not_whole_is_refused(change, message, tmp_path, tiny_file):
    tensors = authors(theirs().float()) | change
    path = tmp_path / "x.safetensors"
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    if message is None:
        ldm.load(tiny_file, "cpu", vae=path)
    else:
        with pytest.raises(CheckpointError, match=message):
            ldm.load(tiny_file, "cpu", vae=path)


def test_what_does_not_fit_the_model_is_refused(tmp_path, tiny_file):
    for i, (network, message) in enumerate(
        ((theirs(latents=16), "16 channels, as of Stable"), (theirs(3), "8 times smaller"))
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        with pytest.raises(CheckpointError, match=message):
            ldm.load(tiny_file, "cpu", vae=joint(network, folder))


def test_a_decoder_alone_is_enough_for_previews_only(tmp_path, tiny_file, capsys):
    path = both(theirs().float(), tmp_path)
    path.with_name("taesd_encoder.pth").unlink()
    with pytest.raises(CheckpointError, match="decoder alone: put its encoder beside it"):
        ldm.load(tiny_file, "cpu", vae=path)
    command = ["txt2img", "--prompt", "x", "--n_iter", "1", "--n_samples", "1", "--steps", "2"]
    command += ["--ckpt", str(tiny_file), "--outdir", str(tmp_path / "out")]
    command += ["--preview_every", "1", "--preview", "taesd"]
    assert main([*command, "--taesd", str(path)]) == 0
    assert names(tmp_path / "out" / "previews") == ["00000-001.png", "00000-002.png"]
    assert main(command) == 2
    assert "--preview taesd needs a tiny autoencoder" in capsys.readouterr().err


def test_a_model_draws_with_it(tmp_path, tiny_file):
    network = theirs().float()
    path = joint(network, tmp_path)
    model, whole = ldm.load(tiny_file, "cpu", vae=path), ldm.load(tiny_file, "cpu")
    assert model.family == whole.family
    latents, images = normal(2, 4, 5, 7), normal(1, 3, 10, 14).clamp(-1, 1)
    with torch.no_grad():
        expected = network.decode(latents).sample.clamp(-1, 1)
        torch.testing.assert_close(model.decode(latents), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.encode(images), network.encode(images).latents)
    drawn = model.txt2img("a cat", steps=2, seed=1)
    assert "VAE: taesd.safetensors" in drawn[0].info["parameters"]
    assert len(model.img2img("a cat", drawn[0], strength=0.5, steps=2)) == 1
    tiled, untiled = (model.decode(normal(1, 4, 24, 24), tile=tile) for tile in (32, None))
    assert 0 < (tiled - untiled).abs().mean() < 0.02 * untiled.std()  # but for the seams
    assert model.decode(latents, axes="xy").shape == (2, 3, 10, 14)
    with pytest.raises(ValueError, match="a tiny autoencoder cannot be saved"):
        model.save(tmp_path / "x.safetensors")


def test_inspect_says_what_it_is(tmp_path):
    said = str(inspect(joint(theirs().float(), tmp_path)))
    assert "a tiny autoencoder (TAESD): encoder and decoder" in said
    assert "yes, with --taesd, or --vae" in said

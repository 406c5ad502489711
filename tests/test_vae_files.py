"""A VAE of another file in the place of a model's own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import ldm
from helpers import TIMES, normal
from ldm.cli import main
from ldm.images.files import open_image, read_text
from ldm.metadata import read_metadata
from ldm.models.keymaps import prefixes, table
from ldm.models.weights import CheckpointError, UnsafePickle, inspect, save
from ldm.models.weights.saving import renamed
from ldm.models.weights.vae import read_vae
from ldm.runtime import hashes
from ldm.vae import VAE

LATENTS = normal(2, 4, 5, 7)


@pytest.fixture(scope="module")
def other(tiny_checkpoint):
    """The tiny model with another VAE."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return replace(tiny_checkpoint, vae=VAE(tiny_checkpoint.family.vae).eval())


def alone(checkpoint, layout):
    """The VAE's tensors as in a file of it alone."""
    begin = prefixes(checkpoint.family, layout)["vae"]
    return {
        name.removeprefix(begin): tensor.contiguous()
        for name, tensor in renamed(checkpoint, layout).items()
        if name.startswith(begin)
    }


def with_begin(begin, tensors):
    return {begin + name: tensor for name, tensor in tensors.items()}


WAYS = {
    "CompVis's names": lambda one, path: save_file(alone(one, "compvis"), path),
    "with their beginning": lambda one, path: save_file(
        with_begin("first_stage_model.", alone(one, "compvis")), path
    ),
    "a trainer's pickle": lambda one, path: torch.save(
        {"state_dict": alone(one, "compvis") | {"loss.logvar": torch.zeros(())}, "epoch": 3}, path
    ),
    "diffusers' names": lambda one, path: save_file(alone(one, "diffusers"), path),
    "diffusers' with vae.": lambda one, path: save_file(
        with_begin("vae.", alone(one, "diffusers")), path
    ),
    "our own names": lambda one, path: save_file(with_begin("vae.", alone(one, "ldm")), path),
    "a whole file of ours": lambda one, path: save(path, one),
    "a whole checkpoint": lambda one, path: save_file(
        {name: x.contiguous() for name, x in renamed(one, "compvis").items()}, path
    ),
    "a diffusers folder": lambda one, path: save(path.with_suffix(""), one, "diffusers"),
}


def written(other, way, tmp_path):
    path = tmp_path / "other.safetensors"
    WAYS[way](other, path)
    return path if path.exists() else path.with_suffix("")


@pytest.mark.parametrize("way", WAYS)
def test_a_vae_is_taken_from_every_kind_of_file(tiny_file, other, way, tmp_path):
    model = ldm.load(tiny_file, "cpu", vae=written(other, way, tmp_path))
    with torch.no_grad():
        expected = other.vae.decode(LATENTS)
        assert torch.equal(model.vae.decode(LATENTS), expected)
        assert not torch.equal(ldm.load(tiny_file, "cpu").vae.decode(LATENTS), expected)
    assert model.family == other.family
    assert not any(parameter.requires_grad for parameter in model.vae.parameters())


def test_half_precision_files_are_read_in_float32(tiny_file, other, tmp_path):
    path = tmp_path / "fp16-fix.safetensors"
    half = {name: tensor.half() for name, tensor in alone(other, "diffusers").items()}
    save_file(half, path)
    found = ldm.load(tiny_file, "cpu", torch.float16, vae=path).vae
    name = "decoder.conv_in.weight"
    assert torch.equal(found.decoder.stem.weight, half[name].float())


def test_a_folder_of_the_vae_says_its_scale_and_a_file_does_not(tiny_file, other, tmp_path):
    save(tmp_path / "whole", other, "diffusers")
    folder = tmp_path / "whole" / "vae"
    config = json.loads((folder / "config.json").read_text())
    for told, scale in ((0.25, 0.25), (None, other.family.vae.scale)):
        config["scaling_factor"] = told
        said = {name: value for name, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(said))
        model = ldm.load(tiny_file, "cpu", vae=folder)
        assert (model.vae.config.scale, model.family.vae.scale) == (scale, scale)
    for name, value, message in (
        ("scaling_factor", "x", "scale cannot be 'x'"),
        ("shift_factor", 0.1, "shift_factor 0.1, not None"),
    ):
        (folder / "config.json").write_text(json.dumps(config | {name: value}))
        with pytest.raises(CheckpointError, match=message):
            ldm.load(tiny_file, "cpu", vae=folder)


def test_a_vae_of_other_sizes_may_be_taken_if_its_latents_fit(tiny_file, other, tmp_path):
    config = replace(other.family.vae, channels=(16, 48), res_blocks=2)
    family = replace(other.family, vae=config)
    wide = replace(other, family=family, vae=VAE(config).eval())
    save_file(alone(wide, "compvis"), tmp_path / "wide.safetensors")
    model = ldm.load(tiny_file, "cpu", vae=tmp_path / "wide.safetensors")
    with torch.no_grad():
        assert torch.equal(model.vae.decode(LATENTS), wide.vae.decode(LATENTS))
    model.save(tmp_path / "again.safetensors")  # and says so in its family
    assert ldm.load(tmp_path / "again.safetensors", "cpu").vae.config == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_channels": 16}, "16 channels, as of Stable Diffusion 3 and Flux; those of tiny"),
        ({"channels": (32, 32, 32)}, "4 times smaller than a picture; those of tiny are 2 times"),
    ],
)
@pytest.mark.parametrize("layout", ["compvis", "diffusers"])
def test_latents_that_do_not_fit_are_refused(tiny_file, other, tmp_path, change, message, layout):
    config = replace(other.family.vae, **change)
    channels = {"in_channels": config.latent_channels, "out_channels": config.latent_channels}
    family = replace(other.family, vae=config, unet=replace(other.family.unet, **channels))
    save_file(alone_of(VAE(config), family, layout), tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError, match=message):
        ldm.load(tiny_file, "cpu", vae=tmp_path / "wrong.safetensors")
    assert inspect(tmp_path / "wrong.safetensors").what.startswith("a VAE")


def alone_of(vae, family, layout):
    found = {}
    for ours, source in table(family, layout, bare=True).items():
        if source.component == "vae":
            tensor = vae.state_dict()[ours.removeprefix("vae.")]
            found[source.names[0]] = (
                tensor if source.operation is None else source.operation.theirs(tensor)
            ).contiguous()
    return found


def test_what_is_no_vae_is_called_by_its_name(tiny_file, other, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(CheckpointError, match=r"is a LoRA.*: give it to --lora, not to --vae"):
        ldm.load(tiny_file, "cpu", vae=path)
    video = {
        name: x[:, :, None] if x.ndim == 4 else x for name, x in alone(other, "compvis").items()
    }
    save_file({name: x.contiguous() for name, x in video.items()}, path)
    with pytest.raises(CheckpointError, match="holds no VAE of pictures"):
        ldm.load(tiny_file, "cpu", vae=path)
    less = alone(other, "compvis")
    del less["decoder.norm_out.bias"]
    save_file(less, path)
    with pytest.raises(CheckpointError, match=r"1 missing \(decoder.norm_out.bias\)"):
        ldm.load(tiny_file, "cpu", vae=path)


def test_inspect_says_what_a_vae_is(other, tmp_path, capsys):
    path = tmp_path / "vae.safetensors"
    save_file(alone(other, "diffusers"), path)
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "a VAE with diffusers' names: latents of 4 channels, 2 times smaller" in said
    assert "yes, with --vae" in said
    assert hashes.sha256(path)[:10] in said
    save(tmp_path / "whole", other, "diffusers")
    assert "a VAE" in str(inspect(tmp_path / "whole" / "vae"))
    less = alone(other, "compvis")
    del less["decoder.norm_out.bias"]
    save_file(less, path)
    found = inspect(path)
    assert (found.loadable, found.problem) == (False, "1 missing (decoder.norm_out.bias)")


def test_the_command_draws_with_it_and_the_picture_says_so(tiny_file, other, tmp_path, capsys):
    path = tmp_path / "ft-mse.safetensors"
    save_file(alone(other, "compvis"), path)
    command = ["txt2img", "--prompt", "x", "--n_iter", "1", "--n_samples", "1", "--steps", "2"]
    command += ["--ckpt", str(tiny_file), "--outdir"]
    assert main([*command, str(tmp_path / "a"), "--vae", str(path)]) == 0
    assert main([*command, str(tmp_path / "b")]) == 0
    files = [tmp_path / name / "samples" / "00000.png" for name in "ab"]
    said, plain = (read_text(file)["parameters"] for file in files)
    digits = {name: hashes.sha256(file)[:10] for name, file in (("m", tiny_file), ("v", path))}
    assert f"Model hash: {digits['m']}, Model: {tiny_file.stem}, " in said
    assert f"VAE hash: {digits['v']}, VAE: ft-mse.safetensors" in said
    assert f"Model hash: {digits['m']}, Model: {tiny_file.stem}, " in plain
    assert "VAE" not in plain
    assert files[0].read_bytes() != files[1].read_bytes()
    theirs = read_metadata(files[0])
    assert theirs.model == tiny_file.stem
    again = ["replay", str(files[0]), "--ckpt", str(tiny_file), "--outdir"]
    capsys.readouterr()
    assert main([*again, str(tmp_path / "c")]) == 0
    warned = "VAE, ft-mse.safetensors: another VAE than the model's: give its file with --vae"
    assert warned in capsys.readouterr().out
    assert main([*again, str(tmp_path / "d"), "--vae", str(path)]) == 0
    assert "not honoured" not in capsys.readouterr().out
    drawn = [open_image(tmp_path / name / "samples" / "00000.png") for name in "acd"]
    assert drawn[2].tobytes() == drawn[0].tobytes() != drawn[1].tobytes()


class Runs:
    def __reduce__(self):
        return eval, ("open('ran', 'w').close()",)


def test_damaged_vae_files(door, other, tmp_path):
    """Of a VAE and of a tiny one, as pickles and in safetensors."""
    rng, path = np.random.default_rng(3), tmp_path / "x.pt"
    tiny = {f"taesd_decoder.{i}.weight": torch.zeros(4, 4, 3, 3) for i in (1, 9)}
    for tensors in (alone(other, "compvis"), alone(other, "diffusers"), tiny):
        torch.save({"state_dict": tensors | {"x": Runs()}}, path)
        with pytest.raises(UnsafePickle):
            read_vae(path, other.family)
        for write in (torch.save, save_file):
            write(tensors, path)
            good = path.read_bytes()
            header = int.from_bytes(good[:8], "little") if write is save_file else len(good)
            for _ in range(10 * TIMES):
                damaged = bytearray(good)
                for at in rng.integers(0, min(header, len(good)), 2):
                    damaged[at] = rng.integers(0, 256)
                path.write_bytes(damaged)
                door.ends(read_vae, path, other.family)


def test_a_vae_that_cannot_be_is_said_before_anything_is_written(tiny_file, tmp_path, capsys):
    command = ["txt2img", "--ckpt", str(tiny_file), "--outdir", str(tmp_path / "out"), "--vae"]
    assert main([*command, str(tmp_path / "absent.pt")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

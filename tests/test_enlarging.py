"""Pictures made larger: in tiles, again and again, by Lanczos or by other libraries' networks; by
the command, between the passes of hires, and before those of upscale."""

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from helpers import TIMES, names, normal, pixels, random_picture
from ldm.images.files import open_image, read_text
from ldm.images.resize import lanczos
from ldm.models.upscalers import Upscaler, check_upscaler, open_upscaler
from ldm.models.weights import CheckpointError, UnsafePickle, inspect
from ldm.pipeline.enlarging import enlarged
from ldm.request import Request
from upscaler_files import WIDTH, X, compact, esrgan, opened


def test_tiles_give_the_whole_picture_but_for_seams(tmp_path):
    """The compact network of three convolutions sees three pixels beyond a tile, and tiles overlap
    by more."""
    upscaler = opened(compact(), tmp_path)
    x = (normal(1, 3, 50, 70, seed=3) / 3).clamp(-1, 1)
    whole, tiled = upscaler(x, tile=None), upscaler(x, tile=32)
    difference = (whole - tiled).abs()
    assert difference.mean() < 0.03 * whole.std()
    assert difference[..., :72, :72].max() < 1e-5  # the first tile but for its edges


def test_the_network_is_applied_until_the_picture_is_large_enough():
    calls = []

    def doubled(x):
        calls.append(x.shape[-1])
        return F.interpolate(x, scale_factor=2, mode="nearest")

    upscaler = Upscaler("x", doubled, 2.0, 1, torch.device("cpu"))
    for size, expected in ((16, [12]), (17, [12, 24]), (5, [12]), (500, [12, 24, 48])):
        calls.clear()
        assert enlarged(X[:1], size, size, upscaler).shape == (1, 3, size, size)
        assert calls == expected
    nearest = enlarged(X[:1], 16, 24, upscaler)
    torch.testing.assert_close(nearest, X[:1].repeat_interleave(2, 2).repeat_interleave(2, 3))
    with pytest.raises(ValueError, match="more than 268 million pixels"):
        enlarged(X, 20_000, 20_000, None)


def test_lanczos_is_pils():
    picture = Image.fromarray(
        np.random.default_rng(0).integers(80, 176, (19, 22, 3), dtype=np.uint8)
    )
    wide = picture.resize((50, 31), Image.Resampling.LANCZOS)
    x = torch.from_numpy(pixels(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    found = (lanczos(x, 31, 50)[0].permute(1, 2, 0) + 1) * 127.5
    assert np.abs(found.numpy() - pixels(wide)).max() <= 1.5  # PIL rounds in between


def test_others_are_spandrels(tmp_path, monkeypatch):
    """Told what to install where it is not there; else read by it, from tensors read here."""
    path = tmp_path / "x.pth"
    state = {"layers.0.residual_group.blocks.0.norm1.weight": torch.ones(4)}
    torch.save({"params_ema": state}, path)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    for read in (open_upscaler, check_upscaler):
        with pytest.raises(CheckpointError, match=r"pip install spandrel"):
            read(path)

    class ImageModelDescriptor:
        scale, input_channels = 3, 3

        def eval(self):
            return lambda x: F.interpolate(x, scale_factor=3, mode="nearest")

    class ModelLoader:
        def __init__(self, device):
            assert device == torch.device("cpu")

        def load_from_state_dict(self, given):
            if given.keys() != state.keys():
                raise RuntimeError("an unknown\narchitecture")
            return ImageModelDescriptor()

    library = types.SimpleNamespace(
        ImageModelDescriptor=ImageModelDescriptor, ModelLoader=ModelLoader
    )
    monkeypatch.setitem(sys.modules, "spandrel", library)
    check_upscaler(path)
    torch.testing.assert_close(
        open_upscaler(path)(X), X.repeat_interleave(3, 2).repeat_interleave(3, 3)
    )
    torch.save({"other": torch.ones(4)}, path)
    with pytest.raises(CheckpointError, match="no upscaler that spandrel knows: an unknown"):
        open_upscaler(path)


@pytest.mark.parametrize(
    "change",
    [
        {"conv_hr.bias": None}, {"conv_hr.bias": torch.zeros(9)}, {"more.weight": torch.zeros(1)},
        {"conv_first.weight": torch.zeros(8)}, {"conv_last.weight": torch.zeros(1, 8, 3, 3)},
        {"body.0.rdb1.conv1.weight": torch.zeros(())},
    ],
)  # fmt: skip
def test_what_only_looks_like_an_rrdbnet_is_none(change, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    state = {name: x for name, x in (esrgan() | change).items() if x is not None}
    with pytest.raises(CheckpointError, match="is no ESRGAN"):
        opened(state, tmp_path)


def test_what_is_something_else_is_called_by_its_name(tmp_path, tiny_file):
    with pytest.raises(CheckpointError, match="is known here; it seems to be a LoRA"):
        opened({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, tmp_path)
    broken = esrgan() | {"conv_hr.bias": torch.full((WIDTH,), torch.inf)}
    with pytest.raises(CheckpointError, match=r"8 values that are NaN or inf"):
        opened(broken, tmp_path)
    path = tmp_path / "x.pth"
    torch.save({"params": esrgan()}, path)
    assert "an upscaler of pictures (RRDBNet, 4 times as large)" in str(inspect(path))


class Runs:
    def __reduce__(self):
        return eval, ("open('ran', 'w').close()",)


def test_hostile_upscalers(door, tmp_path):
    """Pickles that would run something, names without end, and random damage."""
    path, rng = tmp_path / "x.pth", np.random.default_rng(5)
    torch.save({"params_ema": compact() | {"x": Runs()}}, path)
    with pytest.raises(UnsafePickle):
        open_upscaler(path)
    hostile = [
        {f"body.{i}.weight": torch.zeros(1) for i in range(999)},
        {f"model.{i}.weight": torch.zeros(1) for i in range(999)}
        | {"model.1.sub.0.RDB1.conv1.0.weight": torch.zeros(1)},
        {"body.0.rdb1.conv1.weight": torch.zeros(9, 9, 9, 9)},
        esrgan() | {"conv_first.weight": torch.zeros(0, 3, 3, 3)},
        {"body.0.weight": torch.zeros(0, 3, 3, 3), "body.1.weight": torch.zeros(0)}
        | {"body.2.weight": torch.zeros(3, 0, 3, 3)},
    ]
    for state in hostile:
        torch.save(state, path)
        door.ends(open_upscaler, path)
    torch.save(compact(), path)
    good = path.read_bytes()
    for _ in range(20 * TIMES):
        damaged = bytearray(good)
        for at in rng.integers(0, len(good), 3):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(len(good) // 2, len(good) + 1)])
        door.ends(open_upscaler, path)
    path.write_bytes(good)
    assert door.ends(open_upscaler, path) is not None


# Where they are used


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "2x_small.pth"
    torch.save({"params": compact(2)}, path)
    return path


def test_the_command_enlarges_files_and_keeps_their_texts(run, file, tmp_path):
    random_picture(22, 19).save(tmp_path / "plain.png")
    assert run("txt2img --prompt x --n_iter 1 --n_samples 1 --steps 2 --outdir drawn")[0] == 0
    drawn = "drawn/samples/00000.png"
    code, *_ = run(f"enlarge plain.png {drawn} --by 3 --model {file}", ckpt=False)
    assert code == 0
    assert names(tmp_path / "outputs" / "enlarged") == ["00000.png", "plain.png"]
    large = open_image(tmp_path / "outputs" / "enlarged" / "plain.png")
    x = torch.from_numpy(pixels(random_picture(22, 19))).permute(2, 0, 1)[None] / 127.5 - 1
    upscaler = open_upscaler(file)
    expected = (lanczos(upscaler(upscaler(x)), 57, 66)[0].permute(1, 2, 0) + 1) * 127.5
    assert np.abs(pixels(large) - expected.numpy()).max() <= 0.51
    text = read_text(tmp_path / "outputs" / "enlarged" / "00000.png")
    assert text["parameters"] == read_text(tmp_path / drawn)["parameters"]
    assert text["postprocessing"] == ("Postprocess upscale by: 3, Postprocess upscaler: 2x_small")
    assert "postprocessing" in run("show outputs/enlarged/00000.png", ckpt=False)[1]


def test_without_a_model_it_is_lanczos_and_nothing_is_replaced(run, tmp_path):
    picture = random_picture(22, 19)
    picture.save(tmp_path / "plain.png")
    for _ in range(2):
        assert run("enlarge plain.png --outdir out", ckpt=False)[0] == 0
    assert names(tmp_path / "out") == ["plain-1.png", "plain.png"]
    wide = picture.resize((44, 38), Image.Resampling.LANCZOS)
    difference = np.abs(pixels(open_image(tmp_path / "out" / "plain.png")) - pixels(wide))
    assert np.median(difference) <= 1  # but where PIL clips in between


def test_what_cannot_be_enlarged_is_said_in_a_line(run, tmp_path):
    random_picture(22, 19).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for asked, code, message in (
        ("plain.png --by 0", 2, "0 cannot be: give a number up to 64"),
        ("plain.png --model absent.pth", 2, "there is no file or folder absent.pth"),
        ("plain.png --model broken.png", 2, "broken.png is not a checkpoint"),
        ("absent.png", 2, "there is no picture 'absent.png'"),
        ("broken.png", 1, "'broken.png' cannot be read as a picture"),
    ):
        found, out, err = run(f"enlarge {asked} --outdir out", ckpt=False)
        assert (found, out) == (code, ""), asked
        assert message in err
        assert not (tmp_path / "out").exists()


def test_hires_enlarges_by_an_upscalers_file(tiny, file, tmp_path):
    options = {"hires": 1.5, "hires_strength": 0.0, "steps": 2, "seed": 3}
    (first,) = tiny.txt2img("a cat", steps=2, seed=3)
    (large,) = tiny.txt2img("a cat", hires_upscaler=str(file), **options)
    assert "Hires upscaler: 2x_small" in large.info["parameters"]
    x = torch.from_numpy(pixels(first)).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = tiny.decode(tiny.encode(lanczos(open_upscaler(file)(x), 24, 24)))
    found = torch.from_numpy(pixels(large)).permute(2, 0, 1)[None] / 127.5 - 1
    assert (found - expected).abs().mean() < 0.01  # the first was rounded to 8 bits
    plain = tiny.txt2img("a cat", hires_upscaler="pixels", **options)[0]
    assert np.abs(pixels(plain) - pixels(large)).mean() > 1
    with pytest.raises(ValueError, match="'bicubic' is neither latent nor pixels, nor a file"):
        tiny.resolve(Request(hires=2, hires_upscaler="bicubic"))
    torch.save({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(CheckpointError, match="seems to be a LoRA"):
        tiny.resolve(Request(hires=2, hires_upscaler=str(file)))


def test_upscale_enlarges_by_an_upscalers_file_first(tiny, file):
    picture = random_picture(16, 16)
    job = tiny.resolve(Request(upscale=2.0, upscaler=str(file)), picture)
    x = torch.from_numpy(pixels(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.testing.assert_close(job.init.image, open_upscaler(file)(x))
    assert (job.request.width, job.request.height) == (32, 32)
    with pytest.raises(ValueError, match="say how many times with --upscale"):
        tiny.resolve(Request(upscaler=str(file)), picture)
    with pytest.raises(ValueError, match="give the picture that is to be"):
        tiny.resolve(Request(upscaler=str(file)))


def test_a_file_that_a_picture_names_is_not_opened_unasked(run, file, tmp_path):
    asked = f"--hires 1.5 --hires_upscaler {file} --steps 2 --n_iter 1 --n_samples 1"
    assert run(f"txt2img --prompt x {asked} --outdir a")[0] == 0
    code, _, err = run("replay a/samples/00000.png --outdir b")
    assert code == 2
    assert "files that are not opened unasked" in err
    assert "give --hires_upscaler" in err
    assert run(f"replay a/samples/00000.png --hires_upscaler {file} --outdir b")[0] == 0
    one, other = (tmp_path / name / "samples" / "00000.png" for name in "ab")
    assert open_image(one).tobytes() == open_image(other).tobytes()

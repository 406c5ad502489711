"""Files of IP-Adapters: read, or refused in a line that says why."""

import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers import build_tiny, pixels
from ip_adapters import KINDS, TOWER, asked, flat, ip_adapter, written
from ldm.cli import main
from ldm.models.control import of_control, read_control
from ldm.models.families import FAMILIES
from ldm.models.weights import CheckpointError
from ldm.request import Request
from ldm.unet import UNet
from ldm.unet.ip_adapter import attentions, widths
from small_families import build
from tiny_families import SMALL


@pytest.fixture(scope="module")
def model():
    """A model of its own: it keeps the adapters."""
    return build_tiny()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    return written(tmp_path_factory.mktemp("ip"), model)


OF_KINDS = pytest.mark.parametrize("kind", KINDS)


def test_the_cross_attentions_are_numbered_as_in_the_published_files():
    """Down, up, middle: of SD 1 sixteen, of SDXL seventy."""
    own = FAMILIES["sd1"].unet
    down, up = [320] * 2 + [640] * 2 + [1280] * 2, [1280] * 3 + [640] * 3 + [320] * 3
    assert widths(own) == (*down, *up, 1280)
    down, up = [640] * 4 + [1280] * 20, [1280] * 30 + [640] * 6
    assert widths(FAMILIES["sdxl"].unet) == (*down, *up, *[1280] * 10)
    for name in ("sd1", "sdxl"):
        config = replace(SMALL[name].unet, mid_depth=3)
        with torch.device("meta"):
            found = [attn.q.in_features for attn in attentions(UNet(config))]
        assert tuple(found) == widths(config)


@OF_KINDS
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_the_same(model, tmp_path, kind, zipped):
    state = ip_adapter(kind, model.unet.config, **TOWER)
    save_file(flat(state), tmp_path / "a")
    torch.save(state, tmp_path / "b.bin", _use_new_zipfile_serialization=zipped)
    one, other = (read_control(tmp_path / x, model.family, model.unet) for x in ("a", "b.bin"))
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    assert all(name == same and torch.equal(x, y) for (name, x), (same, y) in pairs)


@pytest.mark.parametrize(("name", "other"), [("sd1", "sdxl"), ("sdxl", "sd1"), ("sd2", "sd1")])
def test_one_for_another_family_is_refused(name, other, tmp_path):
    save_file(flat(ip_adapter("linear", SMALL[other].unet)), tmp_path / "a")
    own = build(SMALL[name])
    with pytest.raises(CheckpointError, match=f"it is an IP-Adapter.* this model is of {name}"):
        read_control(tmp_path / "a", own.family, own.unet)


@pytest.mark.parametrize(
    ("family", "kind", "width", "tower"),
    [
        ("sd1", "linear", 1024, "ViT-H/14 .vectors of 1024 numbers."),
        ("sdxl", "linear", 1280, "ViT-bigG/14"),
        ("sd1", "resampler", 1280, "ViT-H/14 .tokens of 1280"),
        ("sdxl", "resampler", 1664, "ViT-bigG/14"),
        ("sd1", "mlp", 1024, "ViT-L/14"),
    ],
)
def test_what_it_is_for_and_with_what_it_sees(family, kind, width, tower):
    with torch.device("meta"):
        state = flat(ip_adapter(kind, FAMILIES[family].unet, tower_width=width, vector=width))
    told, families = of_control(state)  # shapes are enough
    assert family in families
    assert re.search(tower, told)


def test_faces_of_insightface_are_not_read(model, tmp_path):
    state = ip_adapter("mlp", model.unet.config)
    state["image_proj"]["norm.weight"] = state["image_proj"].pop("proj.3.weight")
    save_file(flat(state), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"InsightFace.*FaceID.*not supported"):
        read_control(tmp_path / "a", model.family, model.unet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"vision_tower": None},
            r"sees pictures with CLIP's vision tower \(vectors of 10 numbers\)",
        ),
        ({"vision_tower": "none"}, "there is no vision_tower 'none'"),
        ({"vision_tower": "NET"}, "has no vision tower of CLIP"),
        ({"vision_tower": ("TOWER", "TOWER")}, "2 vision_towers for 1 controls"),
        ({"control": "NET"}, "vision_tower is for IP-Adapters"),
        ({"control": None, "control_image": None}, "vision_tower goes with a control"),
        ({"control": "WIDE"}, "vectors of 20 numbers.*, and the tower in .* gives 10"),
        ({"hint": "edges"}, "takes no hint: leave it out"),
        ({"control_image": None}, "needs a picture: give control_image"),
    ],
)
def test_what_cannot_be(model, files, tmp_path, options, message):
    wide = tmp_path / "wide"
    save_file(flat(ip_adapter("linear", model.unet.config)), wide)
    known = {"NET": files["net"], "TOWER": files["tower"], "WIDE": str(wide)}

    def full(value):
        return tuple(map(full, value)) if isinstance(value, tuple) else known.get(value, value)

    options = {name: full(value) for name, value in options.items()}
    with pytest.raises(ValueError, match=message) as error:
        model.resolve(replace(asked(files), **options))
    assert str(error.value).isprintable()


def test_the_command_line(files, tiny_file, tmp_path, monkeypatch, capsys):
    """Its pictures say how they were made; replay opens no file that only they name."""
    monkeypatch.chdir(tmp_path)
    flags = ["--ckpt", str(tiny_file), "--n_iter", "1", "--n_samples", "1", "--skip_grid"]
    control = ["--control", files["linear"] + ":0.5", "--control_image", files[0]]
    tower = ["--vision_tower", files["tower"]]
    size = ["--W", "24", "--H", "24"]
    line = ["txt2img", "--prompt", "a cat", *flags, *size, *control]
    assert main(line) == 2
    assert "with CLIP's vision tower" in capsys.readouterr().err
    assert main([*line, *tower]) == 0
    (made,) = tmp_path.rglob("*.png")
    again = ["replay", str(made), "--ckpt", str(tiny_file), "--outdir", "again"]
    assert main([*again, *control]) == 2
    assert "give --vision_tower" in capsys.readouterr().err
    assert main([*again, *control, *tower]) == 0
    (same,) = (tmp_path / "again").rglob("*.png")
    assert abs(pixels(Image.open(made)) - pixels(Image.open(same))).max() == 0
    assert main(["inspect", files["linear"]]) == 0
    assert "an IP-Adapter" in capsys.readouterr().out
    request = asked(files)
    assert Request.from_json(json.dumps(json.loads(request.to_json()))) == request

"""Pictures under controls: every way of drawing takes them, and what is wrong is said early."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from controls import randomised
from helpers import assert_same, build_tiny, differ, latents, pixels, random_picture
from ldm.cli import main
from ldm.models.control.loading import names_of
from ldm.models.keymaps.control import adapter_rows, controlnet_rows
from ldm.pipeline.batches import finish
from ldm.pipeline.controlled import finer_less
from ldm.request import Request
from ldm.unet.adapter import AdapterConfig, T2IAdapter
from ldm.unet.controlnet import ControlNet

TINY_HINT = (4, 8)  # the tiny VAE makes latents half as large as pictures
PICTURE = random_picture(24, 24)


@pytest.fixture(scope="module")
def model():
    """A model of its own: it keeps the controls."""
    return build_tiny()


def write(network, rows, path):
    names, state = names_of(rows, "compvis"), network.state_dict()
    save_file({names[ours]: state[ours].contiguous() for ours in names}, path)
    return str(path)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """A ControlNet, a T2I-Adapter and hints for the tiny model."""
    folder = tmp_path_factory.mktemp("controls")
    config = model.unet.config
    network = randomised(ControlNet(config, TINY_HINT), 1)
    adapter = AdapterConfig(3, 2, config.channels, 2, (1,), True, 3)
    found = {
        "net": write(network, controlnet_rows(config, 2), folder / "net.safetensors"),
        "adapter": write(
            randomised(T2IAdapter(adapter), 2), adapter_rows(adapter), folder / "a.safetensors"
        ),
    }
    for i in range(2):
        found[f"hint{i}"] = str(folder / f"{i}.png")
        PICTURE.rotate(180 * i).save(found[f"hint{i}"])
    return found


def asked(files, kind="net", numbers="", hint=0, **options):
    known = {"control": files[kind] + numbers, "control_image": files[f"hint{hint}"]}
    return Request(**{"prompt": "a cat", "width": 24, "height": 24, **known, **options})


KINDS = pytest.mark.parametrize("kind", ["net", "adapter"])


@KINDS
def test_a_control_changes_the_picture_by_its_hint_and_strength(model, files, kind):
    plain = latents(model, asked(files, control=None, control_image=None))
    found = latents(model, asked(files, kind))
    assert differ(found, plain)
    assert differ(found, latents(model, asked(files, kind, hint=1)))
    assert differ(found, latents(model, asked(files, kind, ":0.5")))
    assert_same(latents(model, asked(files, kind, ":0")), plain)
    assert_same(latents(model, asked(files, control=None, control_image=None)), plain)


@KINDS
def test_a_part_of_the_steps(model, files, kind):
    """Of four steps the first two are controlled: what was drawn until then is the same."""

    def steps(numbers):
        return [step.x for step in model.steps(asked(files, kind, numbers, steps=4))]

    whole, half, late = steps(""), steps(":1:0:0.5"), steps(":1:0.5:1")
    assert_same(half[1], whole[1])
    assert differ(half[2], whole[2])
    plain = [step.x for step in model.steps(Request("a cat", width=24, height=24, steps=4))]
    assert_same(late[1], plain[1])
    assert differ(late[2], plain[2])


@KINDS
def test_two_controls_add_up(model, files, kind):
    """Twice at half the strength is once."""
    twice = replace(asked(files, kind), control=(files[kind] + ":0.5",) * 2)
    assert_same(latents(model, twice), latents(model, asked(files, kind)))
    both = replace(asked(files), control=(files["net"], files["adapter"]))
    assert differ(latents(model, both), latents(model, asked(files, kind)))


@KINDS
def test_a_picture_does_not_depend_on_its_batch(model, files, kind):
    several = asked(files, kind, prompt=("a cat", "a dog a cat", "do"), count=1)
    found = latents(model, several)
    for i, single in enumerate(several.split(1)):
        assert_same(latents(model, single), found[i : i + 1], 1e-4)


@KINDS
def test_tiles_of_the_whole_size_change_nothing(model, files, kind):
    """And hints are cut as latents are: a picture twice as wide, of the same hint twice, shows
    in its outer tiles what a narrow one shows."""
    assert_same(latents(model, asked(files, kind, tile=24)), latents(model, asked(files, kind)))
    small = latents(model, asked(files, kind, tile=16))
    assert small.shape == (1, 4, 12, 12)
    assert differ(small, latents(model, asked(files, kind)))


def test_the_hint_of_a_tile_is_cut_like_its_latent(model, files):
    """The network of each tile is shown the part of the hint that lies over it."""
    from ldm.images.files import to_tensor

    whole = (to_tensor(PICTURE) + 1) / 2
    seen = []
    latents(model, asked(files))
    network = model.opened[files["net"]]
    handle = network.register_forward_pre_hook(lambda _, args: seen.append(args[3]))
    try:
        latents(model, asked(files, tile=16, steps=1))
    finally:
        handle.remove()
    assert len(seen) == 4
    corners = [whole[..., y : y + 16, x : x + 16] for y in (0, 8) for x in (0, 8)]
    for hint, corner in zip(seen, corners):
        assert_same(hint[:1], corner)


@KINDS
def test_seamless_hires_and_joined_prompts(model, files, kind):
    plain = latents(model, asked(files, kind))
    assert differ(latents(model, asked(files, kind, seamless="xy")), plain)
    assert latents(model, asked(files, kind, hires=2, hires_steps=2)).shape[-1] == 24
    assert differ(latents(model, asked(files, kind, prompt="a cat AND a dog")), plain)
    assert differ(latents(model, asked(files, kind, guidance_scale=1)), plain)


@pytest.mark.parametrize("kind", ["net", "adapter"])
def test_the_depth_of_the_network_is_held_under_a_control(model, files, kind):
    """The first call is exact; later ones are told of the control, too, also in tiles."""
    exact, held = asked(files, kind), asked(files, kind, cache=100)
    assert torch.equal(next(model.steps(held)).x, next(model.steps(exact)).x)
    assert differ(latents(model, held), latents(model, exact))
    assert differ(latents(model, held), latents(model, asked(files, kind, hint=1, cache=100)))
    assert_same(latents(model, asked(files, kind, cache=100, tile=24)), latents(model, held))


def test_guess_mode_leaves_the_negative_branch_alone(model, files):
    """At scale 0 only the negative branch counts: it is as if there were no control."""
    plain = asked(files, control=None, control_image=None, guidance_scale=0)
    found = latents(model, asked(files, guess_mode=True, guidance_scale=0))
    assert_same(found, latents(model, plain))
    assert differ(latents(model, asked(files, guidance_scale=0)), found)


def test_guess_mode_weighs_the_finer_maps_less(model, files):
    """0.825^(n - 1 - i), lllyasviel's, and from 0.1 to 1 diffusers'."""
    from ldm.compat.profiles import PROFILES

    assert finer_less(13) == pytest.approx([0.825 ** (12 - i) for i in range(13)])
    whole = latents(model, asked(files, guess_mode=True, guidance_scale=1))
    assert differ(whole, latents(model, asked(files, guidance_scale=1)))
    expected = torch.logspace(-1, 0, 13).tolist()
    assert PROFILES["diffusers"].guess_scales(13) == pytest.approx(expected)


def test_from_a_picture_it_is_the_hint_where_no_other_is_given(model, files):
    given = asked(files, control_image=None, strength=0.5)
    found = latents(model, given, PICTURE)
    assert_same(found, latents(model, asked(files, strength=0.5), PICTURE))


def test_where_a_part_is_inpainted_alone_the_hint_is_that_part(model, files):
    mask = Image.new("L", PICTURE.size)
    mask.paste(255, (14, 14, 20, 20))
    options = {"inpaint_only_masked": True, "masked_padding": 2, "width": 16, "height": 16}
    job = model.resolve(asked(files, **options), PICTURE, mask)
    (left, top, right, bottom) = job.init.overlay.box
    ((control,),) = (addition.every for addition in job.additions)
    hint = control.hint(model, job, job.passes[0])
    part = PICTURE.crop((left, top, right, bottom)).resize((16, 16), Image.Resampling.LANCZOS)
    assert pixels(part) / 255 == pytest.approx(hint[0].permute(1, 2, 0).numpy(), abs=1e-6)
    (picture,) = finish(model, job, latents(model, job))
    assert picture.size == PICTURE.size


def test_pictures_may_be_given_as_they_are(model, files):
    named = {"width": 24, "height": 24, "control": files["net"], "seed": 3}
    (one,) = model.txt2img("a cat", control_image=PICTURE, **named)
    (other,) = model.txt2img("a cat", control_image=files["hint0"], **named)
    assert abs(pixels(one) - pixels(other)).max() == 0


@pytest.mark.parametrize("hint", ["edges", "blur", "tile", "grey"])
def test_the_hint_is_made_from_a_picture(model, files, hint):
    made = Request(**{**vars(asked(files)), "hint": hint})
    assert differ(latents(model, made), latents(model, asked(files)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "none.safetensors"}, "there is no control"),
        ({"control": "NET:x"}, "there is no control"),
        ({"control": "NET:1:0.5:0.2"}, "start before an end"),
        ({"control": "NET:1:0:2"}, "from 0 to 1"),
        ({"control": "NET:1.2.3"}, "write FILE:STRENGTH"),
        ({"control_image": "none.png"}, "there is no picture"),
        ({"control_image": None}, "needs a picture: give control_image"),
        ({"control": None}, "control_image goes with a control"),
        ({"control": None, "control_image": None, "guess_mode": True}, "guess_mode goes with"),
        ({"control_image": ("HINT", "HINT")}, "2 control_images for 1 controls"),
        ({"hint": "edge"}, "unknown hint 'edge'"),
        ({"control_kind": "fish"}, "control_kind 'fish' is unknown"),
        ({"control_kind": "canny"}, "for union ControlNets"),
    ],
)
def test_what_cannot_be(model, files, options, message):
    def full(value):
        if isinstance(value, tuple):
            return tuple(map(full, value))
        return value and value.replace("NET", files["net"]).replace("HINT", files["hint0"])

    options = {name: x if x is True else full(x) for name, x in options.items()}
    with pytest.raises(ValueError, match=message) as error:
        model.resolve(Request(**{**vars(asked(files)), **options}))
    assert "\n" not in str(error.value)


def test_the_command_line(files, tiny_file, tmp_path, monkeypatch, capsys):
    """Its pictures say how they were made; replay opens no file that only they name."""
    monkeypatch.chdir(tmp_path)
    flags = ["--ckpt", str(tiny_file), "--n_iter", "1", "--n_samples", "1", "--skip_grid"]
    control = ["--control", files["net"] + ":0.5", "--control_image", files["hint0"]]
    control += ["--control", files["adapter"], "--control_image", files["hint1"]]
    size = ["--W", "24", "--H", "24"]
    assert main(["txt2img", "--prompt", "a cat", *flags, *size, *control, "--hint", "edges"]) == 0
    (made,) = tmp_path.rglob("*.png")
    assert main(["show", str(made)]) == 0
    assert files["net"] + ":0.5" in capsys.readouterr().out
    again = ["replay", str(made), "--ckpt", str(tiny_file), "--outdir", "again"]
    assert main(again) == 2
    assert "give --control" in capsys.readouterr().err
    assert main([*again, *control]) == 0
    (same,) = (tmp_path / "again").rglob("*.png")
    assert abs(pixels(Image.open(made)) - pixels(Image.open(same))).max() == 0


def test_inspect_says_what_a_control_is(files, capsys):
    assert main(["inspect", files["net"]]) == 0
    assert "a ControlNet, with the original's names" in capsys.readouterr().out
    assert main(["inspect", files["adapter"]]) == 0
    assert "T2I-Adapter" in capsys.readouterr().out


def test_a_request_with_controls_survives_json(files):
    request = replace(asked(files), control=(files["net"], files["adapter"]))
    assert Request.from_json(json.dumps(json.loads(request.to_json()))) == request

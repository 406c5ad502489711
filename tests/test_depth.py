"""The estimator of depth in the files of models that are told it."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import ldm
from depth_files import FAMILY, SMALL_DPT, header, midas, random_dpt, write_file
from helpers import network_calls, random_picture
from ldm.images.files import to_tensor
from ldm.models.depth.dpt import HYBRID
from ldm.models.depth.names import BEGIN, config_of, dpt_rows
from ldm.models.depth.opening import meta, seen
from ldm.models.keymaps import sources
from ldm.models.tools.convert import convert
from ldm.models.weights import inspect, read, save
from ldm.models.weights.recognise import shapes_of
from ldm.request import Request
from manifests import MANIFESTS

PICTURE = random_picture(16, 24)
OTHERS = "ldm.pipeline.makers.depth_estimate"  # the models of transformers
LAYOUTS = {"ldm": "x.safetensors", "compvis": "x.safetensors", "diffusers": "x"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "depth.safetensors"
    write_file(path)
    return path


def test_the_published_names_and_shapes_are_those_of_the_network():
    begin = BEGIN["compvis"]
    published = {
        name: tuple(shape)
        for name, (shape, _) in MANIFESTS["sd-v2-depth"].items()
        if name.startswith(begin)
    }
    where = sources("", dpt_rows(HYBRID), "compvis", begin)
    own = {f".{name}": tensor.shape for name, tensor in meta(HYBRID).state_dict().items()}
    assert own.keys() == where.keys()
    expected = shapes_of(where, own)
    assert {where[ours].names[0]: shape for ours, shape in expected.items()} == published
    assert len(published) == 368
    bare = {name.removeprefix(begin): shape for name, shape in published.items()}
    assert config_of(bare, "compvis") == HYBRID


def test_names_are_one_to_one():
    for layout, count in (("ldm", 416), ("compvis", 416), ("diffusers", 414)):
        where = sources("", dpt_rows(HYBRID), layout)
        names = [(name, source.part) for source in where.values() for name in source.names]
        assert len(names) == len(set(names)) == count


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (384, 384)),
        ((512, 768), (384, 576)),  # the height is scaled by 3/4, the width by 1/2: the former
        ((768, 512), (576, 384)),
        ((256, 300), (320, 384)),  # by 3/2, or by 1.28: 328 is 10.24 times 32
        ((8, 6400), (32, 6400 * 384 // 6400)),
    ],
)
def test_a_picture_is_scaled_as_little_as_possible(size, expected):
    assert seen(*size, 384) == expected


def test_a_file_has_its_own_estimator(file, monkeypatch):
    """And nothing else is looked for, or run."""
    monkeypatch.setattr(f"{OTHERS}.check_estimator", None)
    monkeypatch.setattr(f"{OTHERS}.estimate", None)
    model, depth = ldm.load(file), to_tensor(PICTURE)
    network = model.depth.network(torch.device("cpu"))
    assert network.config == SMALL_DPT
    for name, tensor in random_dpt().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    with network_calls(model) as calls:
        model.img2img("cat", PICTURE, steps=2, seed=0)
    with torch.no_grad():
        near = network(F.interpolate(depth, (64, 32), mode="bicubic"))
    near = F.interpolate(near, (12, 8), mode="bicubic")
    near = 2 * (near - near.min()) / (near.max() - near.min()) - 1
    told = calls[0].conditioning.concat[:1]
    assert near.std() > 0.1
    torch.testing.assert_close(told, near, rtol=0, atol=1e-5)


def test_a_model_that_is_named_goes_first(file, monkeypatch):
    monkeypatch.setattr(f"{OTHERS}.check_estimator", lambda name: None)
    model = ldm.load(file)
    job = model.resolve(Request("cat", depth_model="some/model"), PICTURE)
    assert job.request.depth_model == "some/model"
    assert model.resolve(Request("cat"), PICTURE).request.depth_model is None
    model.depth = None
    assert model.resolve(Request("cat"), PICTURE).request.depth_model == "Intel/dpt-hybrid-midas"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("how", ["save", "convert"])
def test_it_is_kept_to_the_bit(how, layout, dtype, tmp_path):
    first, there = tmp_path / "first.safetensors", tmp_path / LAYOUTS[layout]
    own = write_file(first, dtype)
    if how == "save":
        save(there, read(first), layout)
    else:
        convert(first, there, layout)
    assert inspect(there).loadable
    back = tmp_path / "back.safetensors"
    save(back, read(there), "compvis")
    found = {name: tensor for name, tensor in load_file(back).items() if "depth_model" in name}
    lost = {name for name in own if ".head." in name} if layout == "diffusers" else set()
    assert len(lost) in (0, 2)
    assert found.keys() == own.keys() - lost
    for name, tensor in found.items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, own[name]), name
    family = read(there).family
    assert (family.conditioning, family.unet) == (FAMILY.conditioning, FAMILY.unet)


def test_one_that_is_not_whole_is_left_out_with_a_warning(file, capsys):
    tensors, told = load_file(file), header(file)
    name = "depth_model.model.scratch.output_conv.2.bias"
    for changed in ({name: tensors[name][:-1]}, {name: None}):
        kept = {key: one for key, one in (tensors | changed).items() if one is not None}
        save_file(kept, file, told)
        with pytest.warns(UserWarning, match=rf"not whole.*{name}"):
            assert read(file).depth is None


def test_a_damaged_number_is_told(file):
    tensors = load_file(file)
    tensors["depth_model.model.scratch.output_conv.2.bias"][0] = torch.nan
    save_file(tensors, file, header(file))
    model = ldm.load(file)
    with pytest.raises(ValueError, match=r"output_conv\.2\.bias in .* NaN"):
        model.img2img("cat", PICTURE, steps=2)


def test_the_names_of_midas_are_the_files_own():
    assert midas(random_dpt())["depth_model.model.pretrained.model.cls_token"].shape == (1, 1, 128)

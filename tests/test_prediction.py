"""What a U-Net predicts: asked for, written in or beside a file, known by its name, or probed."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import ldm
from ldm.models import families
from ldm.models.weights import inspect, read, save
from ldm.models.weights import prediction as predictions
from ldm.models.weights import recognise as recognising
from ldm.models.weights.prediction import with_prediction
from tiny_families import SMALL, random_model

SD2, SDXL = families.SD2, families.SDXL


@pytest.fixture
def small_sd2(monkeypatch):
    """Small SD 2s are among the known families, so that a file of theirs is recognised."""
    known = {name: SMALL[name] for name in ("sd2", "sd2-v")}
    monkeypatch.setattr(recognising, "FAMILIES", known)
    monkeypatch.setattr(predictions, "PAIRS", (tuple(known.values()),))
    return SMALL["sd2"]


def behaving(model, prediction):
    """The model with a U-Net that gives back its input, or what v is at the last time step."""
    unet = model.unet
    for parameter in unet.parameters():
        parameter.zero_()
    unet.norm.bias.fill_(1.0)
    unet.out.bias.fill_(0.5 if prediction == "eps" else -2.0)
    return model


def nameless(path, model):
    """A file of these weights that does not say what they are."""
    save(path, model, "compvis")
    save_file(load_file(path), path, {"merges": "\n".join(map(" ".join, model.merges))})
    return path


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_u_net_that_nothing_tells_of_is_called(small_sd2, prediction, tmp_path):
    path = nameless(tmp_path / "some.safetensors", behaving(random_model(small_sd2), prediction))
    assert inspect(path).kind.undecided
    with pytest.warns(UserWarning, match=f"predicts {prediction}, as a call of it suggests.*pred"):
        found = read(path)
    assert found.family.prediction == prediction
    assert found.prediction.startswith(f"{prediction}, as a call of it suggests")
    with pytest.warns(UserWarning, match="suggests"):
        model = ldm.load(path, device="cpu")
    assert model.prediction_reason == found.prediction
    other = {"eps": "v", "v": "eps"}[prediction]
    model = ldm.load(path, device="cpu", prediction=other)
    assert (model.family.prediction, model.prediction_reason) == (other, f"{other}, as asked for")
    assert str(inspect(path, prediction=other)).count(f"{other}, as asked for") == 1


def test_a_yaml_beside_a_file_and_its_name_are_believed(small_sd2, tmp_path):
    model = random_model(small_sd2)
    assert read(nameless(tmp_path / "x-768-v.safetensors", model)).family.prediction == "v"
    assert read(nameless(tmp_path / "512-base.safetensors", model)).family.prediction == "eps"
    path = nameless(tmp_path / "512-base-2.safetensors", model)
    path.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    found = read(path)
    assert found.prediction == "v, as 512-base-2.yaml says"


def test_markers_say_v_and_zero_terminal_snr(monkeypatch, tmp_path):
    known = {name: SMALL[name] for name in ("sdxl", "sdxl-v")}
    monkeypatch.setattr(recognising, "FAMILIES", known)
    monkeypatch.setattr(predictions, "PAIRS", (tuple(known.values()),))
    path = nameless(tmp_path / "some.safetensors", random_model(SMALL["sdxl"]))
    metadata = {"merges": "c a\nca t</w>\nd o"}
    plain, marked = load_file(path), {"v_pred": torch.tensor([])}
    assert read(path).family == SMALL["sdxl"]
    save_file(plain | marked, path, metadata)
    assert read(path).family == replace(SMALL["sdxl-v"], zero_snr=False)
    save_file(plain | marked | {"ztsnr": torch.tensor([])}, path, metadata)
    found = read(path)
    assert found.family == SMALL["sdxl-v"]
    assert found.prediction == "v, as the tensor v_pred in it says"


def test_families_of_two_kinds():
    assert with_prediction(SD2, "v") == families.SD2_V
    assert with_prediction(families.SD2_V, "epsilon") == SD2
    assert with_prediction(SD2, "eps") == SD2
    assert with_prediction(SDXL, "v_prediction") == families.SDXL_V
    assert with_prediction(families.SD1, "v") == replace(families.SD1, prediction="v")
    with pytest.raises(ValueError, match="eps, v or x0, not 'x1'"):
        with_prediction(SD2, "x1")


def test_what_is_asked_for_is_believed_before_a_header(tiny_file):
    assert read(tiny_file).prediction == "eps, as the header of the file says"
    found = read(tiny_file, prediction="v")
    assert (found.family.prediction, found.prediction) == ("v", "v, as asked for")
    assert torch.equal(found.unet.stem.weight, read(tiny_file).unet.stem.weight)
    with pytest.raises(ValueError, match="eps, v or x0, not 'both'"):
        read(tiny_file, prediction="both")


def test_commands_take_it(run, tiny_file):
    code, out, _ = run(f"inspect {tiny_file} --prediction v", ckpt=False)
    assert (code, "v, as asked for" in out) == (0, True)
    drawing = "txt2img --prompt cat --n_iter 1 --n_samples 1 --skip_grid --outdir"
    assert run(f"{drawing} a --prediction v")[0] == run(f"{drawing} b")[0] == 0
    code, _, error = run(f"{drawing} c --prediction x0")
    assert (code, "--prediction" in error) == (2, True)

"""Models of few steps: what tells them, and how they are drawn with."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers import TINY, build_tiny, first_call, latents, levels, network_calls
from ldm.models.families import FAMILIES
from ldm.models.few_steps import FEW_STEPS, few_steps
from ldm.models.weights import inspect, read
from ldm.models.weights.mapped import Weight, contiguous_stride
from ldm.models.weights.opening import OpenedCheckpoint
from ldm.models.weights.recognise import recognise
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.samplers import SAMPLERS, SCHEDULES, NoiseSchedule, scaled_linear_betas
from ldm.unet import UNet
from manifests import MANIFESTS

SCHEDULE = NoiseSchedule(scaled_linear_betas())

# the published file, the family of its keys, and what it then is: steps, sampler, schedule, scale
NAMED = {
    "sd_xl_turbo_1.0_fp16": ("sdxl", "sdxl-turbo", 1, "euler_ancestral", "turbo", 1),
    "sd_turbo": ("sd2", "sd2-turbo", 1, "euler_ancestral", "turbo", 1),
    "DreamShaperXL_Turbo_v2_1": ("sdxl", "sdxl-turbo-merge", 8, "dpmpp_sde", "karras", 2),
    "sdxl_lightning_2step": ("sdxl", "sdxl-lightning", 2, "euler", "trailing", 1),
    "sdxl_lightning_8step": ("sdxl", "sdxl-lightning", 8, "euler", "trailing", 1),
    "sdxl_lightning_1step_x0": ("sdxl", "sdxl-lightning", 1, "euler", "trailing", 1),
    "Juggernaut_RunDiffusionPhoto2_Lightning_4Steps": (
        "sdxl", "sdxl-lightning", 4, "euler", "trailing", 1,
    ),
    "Hyper-SDXL-1step-Unet-Comfyui.fp16": ("sdxl", "sdxl-hyper-sd", 1, "ddim", "hyper_sd", 1),
    "Hyper-SD15-8steps": ("sd1", "sd1-hyper-sd", 8, "ddim", "hyper_sd", 1),
    "Hyper-SDXL-8steps-CFG": ("sdxl", "sdxl-hyper-sd-cfg", 8, "ddim", "hyper_sd", 5),
    "hyper_sd15_12steps_cfg_merged": ("sd1", "sd1-hyper-sd-cfg", 12, "ddim", "hyper_sd", 7.5),
    "dmd2_sdxl_4step_unet": ("sdxl", "sdxl-dmd2", 4, "lcm", "dmd2", 1),
    "dmd2_sdxl_1step_unet": ("sdxl", "sdxl-dmd2", 1, "lcm", "dmd2", 1),
    "photon_lcm": ("sd1", "sd1-lcm", 4, "lcm", "lcm", 1),
    "sdxl-tcd-4step": ("sdxl", "sdxl-tcd", 4, "tcd", "lcm", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_name_tells_how_a_model_is_used(name):
    base, family, steps, sampler, schedule, scale = NAMED[name]
    found, said = few_steps(FAMILIES[base], "", name)
    assert (found.name, found.steps, found.sampler) == (family, steps, sampler)
    assert (found.schedule, found.guidance_scale) == (schedule, scale)
    assert found.unet == FAMILIES[base].unet
    assert f"as its name says: {steps} step" in said
    assert said.endswith(f"--family {base})")
    assert (found.prediction == "x0") == ("x0" in name)


@pytest.mark.parametrize("base", ["sd1", "sdxl", "sd2-v"])
@pytest.mark.parametrize(
    "name", ["v1-5-pruned-emaonly", "sd_xl_base_1.0", "talcmix", "atcdx", "hyperrealism_30steps"]
)
def test_other_names_tell_nothing(base, name):
    assert few_steps(FAMILIES[base], "", name) is None


def test_every_row_is_told_by_a_name_here_and_is_of_families_that_exist():
    told = {NAMED[name][1] for name in NAMED}
    for row in FEW_STEPS:
        assert any(row.of(FAMILIES[base]).name in told for base in row.bases)


def test_there_is_no_lightning_of_other_families():
    assert few_steps(FAMILIES["sd1"], "", "lightning_8step") is None
    assert few_steps(FAMILIES["sdxl-inpainting"], "", "lightning_8step") is None


def opened(name, path, metadata=None, added=()):
    """A file with the keys of a published one, of no data."""
    dtypes = {"float32": torch.float32, "int64": torch.int64, "int32": torch.int32}
    dtypes |= {"float16": torch.float16}
    shapes = {key: (tuple(shape), dtypes[dtype]) for key, (shape, dtype) in MANIFESTS[name].items()}
    weights = {
        key: Weight(None, dtype, shape, contiguous_stride(shape), 0)
        for key, (shape, dtype) in (shapes | dict(added)).items()
    }
    return OpenedCheckpoint(Path(path), "safetensors", weights, metadata or {})


def test_a_file_is_recognised_by_its_title_before_its_name():
    title = {"modelspec.title": "SDXL-Lightning 8step"}
    kind = recognise(opened("sdxl-base", "sd_xl_turbo_1.0.safetensors", title))
    assert (kind.family.name, kind.family.steps) == ("sdxl-lightning", 8)
    assert "as its title says" in kind.few_steps
    kind = recognise(opened("sdxl-base", "sd_xl_turbo_1.0.safetensors"))
    assert kind.family.name == "sdxl-turbo"
    plain = recognise(opened("sdxl-base", "sd_xl_base_1.0.safetensors"))
    assert (plain.family, plain.few_steps) == (FAMILIES["sdxl"], None)


def test_a_given_family_is_believed_before_a_name():
    file = opened("sdxl-base", "sd_xl_turbo_1.0.safetensors")
    kind = recognise(file, FAMILIES["sdxl"])
    assert (kind.family, kind.few_steps) == (FAMILIES["sdxl"], None)


def test_the_single_step_of_lightning_predicts_the_clean_latent():
    kind = recognise(opened("sdxl-base", "sdxl_lightning_1step_x0.safetensors"))
    assert kind.family.prediction == "x0"
    assert kind.prediction.startswith("x0, as models of sdxl-lightning")


def test_sd_turbo_predicts_eps():
    kind = recognise(opened("sd-v2-base-512-eps", "sd_turbo.safetensors"))
    assert (kind.family.name, kind.family.prediction) == ("sd2-turbo", "eps")
    assert not kind.undecided


@pytest.mark.parametrize(("name", "family"), [("sd-v1", "lcm"), ("sdxl-base", "lcm-sdxl")])
def test_a_latent_consistency_model_is_told_by_a_layer(name, family):
    layer = "model.diffusion_model.time_embed.cond_proj.weight"
    added = {layer: ((320, 256), torch.float32)}
    kind = recognise(opened(name, "a.safetensors", added=added))
    assert kind.family == FAMILIES[family]
    assert recognise(opened(name, "a.safetensors")).family != FAMILIES[family]


def test_the_command_and_inspect_say_it(run, tiny_compvis, tmp_path, monkeypatch):
    """Of a tiny model, whose family is put in SDXL's place."""
    sdxl = replace(TINY, name="sdxl")
    monkeypatch.setattr("ldm.models.weights.recognise.FAMILIES", {"sdxl": sdxl})
    path = tmp_path / "tiny_lightning_2step.safetensors"
    save_file(tiny_compvis, path)
    said = "sdxl-lightning, as its name says: 2 steps of euler on trailing, no guidance"
    assert f"few steps   {said}" in str(inspect(path))
    _, _, complaints = run(f"txt2img --prompt cat --ckpt {path}", ckpt=False)
    assert f"warning: {path.name} is {said}" in complaints
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path, family=sdxl).family == sdxl


TURBO = replace(TINY, steps=1, guidance_scale=1.0, sampler="euler_ancestral", schedule="turbo")


def test_a_model_of_few_steps_is_drawn_with_as_it_is_meant(tiny):
    model = LatentDiffusion(tiny.text, tiny.unet, tiny.vae, tiny.tokenizer, TURBO)
    with network_calls(model) as calls:
        list(model.steps(Request("cat", width=16, height=16)))
    assert [len(call.x) for call in calls] == [1]  # no second branch
    assert calls[0].t.tolist() == pytest.approx([999])
    times = SCHEDULE.timesteps(levels(model, prompt="cat", steps=4)[:-1])
    assert times == pytest.approx([999, 899, 799, 699])


@pytest.mark.parametrize(("scale", "rows"), [(0.0, 1), (0.5, 1), (1.0, 1), (1.5, 2)])
def test_scales_up_to_1_are_without_guidance_in_diffusers(tiny, scale, rows):
    request = Request("cat", guidance_scale=scale, steps=1, compat="diffusers")
    assert len(first_call(tiny, request).x) == rows
    assert len(first_call(tiny, replace(request, compat=None)).x) == (1 if scale == 1 else 2)


@pytest.fixture(scope="module")
def distilled():
    """A tiny model with guidance distilled into it."""
    model = build_tiny()
    family = replace(
        TINY, unet=replace(TINY.unet, guidance_width=6), guidance_scale=8.5, sampler="lcm",
        schedule="lcm",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unet = UNet(family.unet)
    return LatentDiffusion(model.text, unet, model.vae, model.tokenizer, family)


def test_a_distilled_network_is_told_the_scale_and_has_one_branch(distilled):
    for options, scale in (({}, 8.5), ({"guidance_scale": 1.0}, 1.0), ({"guidance_scale": 2}, 2)):
        call = first_call(distilled, Request(("cat", "do"), count=2, **options))
        assert len(call.x) == 4
        assert call.conditioning.guidance.tolist() == [scale] * 4
    one, other = (latents(distilled, Request("cat", guidance_scale=s)) for s in (2.0, 8.0))
    assert not torch.equal(one, other)


def test_a_negative_prompt_is_told_to_be_in_vain(distilled):
    with pytest.warns(UserWarning, match="the negative prompt is not read"):
        distilled.resolve(Request("cat", negative="do"))


def test_all_steps_of_a_distilled_model_are_within_the_strength(distilled):
    size = {"width": 16, "height": 16, "prompt": "cat", "steps": 4}
    picture = torch.zeros(1, 3, 16, 16)
    times = SCHEDULE.timesteps(levels(distilled, picture, strength=0.6, **size)[:-1])
    assert times == pytest.approx([599, 459, 299, 159])
    with pytest.raises(ValueError, match=r"the schedule lcm has at strength 0\.05, 2"):
        levels(distilled, picture, strength=0.05, **size)


@pytest.mark.parametrize(
    ("name", "times"),
    {
        "lcm": [999, 759, 499, 259],
        "turbo": [999, 899, 799, 699],
        "dmd2": [999, 749, 499, 249],
        "hyper_sd": [999, 749, 499, 249],
    }.items(),
)
def test_the_levels_of_four_steps(name, times):
    assert SCHEDULE.timesteps(SCHEDULES[name](SCHEDULE, 4)[:-1]) == pytest.approx(times)


@pytest.mark.parametrize(
    ("name", "t"), [("lcm", 999), ("turbo", 999), ("dmd2", 399), ("hyper_sd", 800)]
)
def test_the_level_of_a_single_step(tiny, name, t):
    """It may be low, and is not warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sigmas = levels(tiny, prompt="cat", steps=1, schedule=name)
    assert sigmas == SCHEDULES[name](SCHEDULE, 1)
    assert SCHEDULE.timesteps(sigmas) == pytest.approx([t, 0], abs=1e-6)


def test_tcd_without_new_noise_is_ddim(tiny):
    request = Request("cat", sampler="tcd", eta=0.0, steps=4, schedule="trailing")
    ddim = replace(request, sampler="ddim", eta=None)
    tcd, euler = (latents(tiny, replace(one, compat="diffusers")) for one in (request, ddim))
    torch.testing.assert_close(tcd, euler)
    assert SAMPLERS["tcd"].stochastic


def test_the_turbo_of_web_uis_is_trailing():
    """Forge's, as its pictures' metadata name it."""
    request = {"prompt": "cat", "schedule": "turbo", "sampler": "euler", "steps": 4}
    times = SCHEDULE.timesteps(levels(build_tiny(), compat="a1111", **request)[:-1])
    assert times == pytest.approx([999, 749, 499, 249])

"""What other programs call the settings, for hints: their names -> ours, as flag or as keyword.

The names are those of diffusers' pipelines, of the web UIs' settings and API, of ComfyUI's nodes,
and of CompVis's and Stability's scripts. Where there are several of ours, the first that fits.
"""

from collections.abc import Collection
from difflib import get_close_matches

from .text import short

# fmt: off
FOREIGN = {
    "batch": "n_samples count", "batch_count": "n_iter count", "batch_size": "n_samples count",
    "images": "n_samples count", "n": "n_samples count", "n_iter": "n_iter count",
    "n_samples": "n_samples count", "num_images": "n_samples count",
    "num_images_per_prompt": "n_samples count", "num_outputs": "n_samples count",
    "cfg": "guidance_scale", "cfg_scale": "guidance_scale", "guidance": "guidance_scale",
    "depth_map": "depth", "depth_image": "depth", "control_depth": "depth",
    "image_cfg": "image_guidance_scale", "image_cfg_scale": "image_guidance_scale",
    "cfg_image": "image_guidance_scale", "cfg_text": "guidance_scale",
    "noise_augmentation": "noise_level", "checkpoint": "ckpt",
    "ckpt_path": "ckpt", "model": "ckpt", "model_id": "ckpt",
    "model_path": "ckpt", "denoise": "strength", "denoising_strength": "strength",
    "ddim_eta": "eta", "ddim_steps": "steps", "inference_steps": "steps",
    "num_inference_steps": "steps", "num_steps": "steps", "sampling_steps": "steps",
    "dir": "outdir", "out": "outdir", "output": "outdir", "output_dir": "outdir",
    "output_path": "outdir", "save_dir": "outdir", "emphasis": "prompt_syntax",
    "enable_hr": "hires", "hr_scale": "hires", "hires_scale": "hires", "hires_upscale": "hires",
    "hr_second_pass_steps": "hires_steps", "hr_upscaler": "hires_upscaler",
    "generator": "seed", "noise_seed": "seed", "manual_seed": "seed", "h": "height", "w": "width",
    "init": "image", "init_image": "image", "init_images": "image", "initial_image": "image",
    "input": "image", "input_image": "image", "mask_image": "mask", "inpaint_mask": "mask",
    "inpaint_full_res": "inpaint_only_masked", "padding_mask_crop": "inpaint_only_masked",
    "inpaint_full_res_padding": "masked_padding", "inpainting_fill": "masked_content",
    "clipskip": "clip_skip", "neg": "negative", "neg_prompt": "negative", "n_prompt": "negative",
    "negative_prompt": "negative", "negative_prompts": "negative", "no": "negative",
    "uncond": "negative", "text": "prompt", "positive": "prompt", "precision": "dtype",
    "torch_dtype": "dtype", "sampler_index": "sampler", "sampler_name": "sampler",
    "sampling_method": "sampler", "scheduler": "schedule", "scheduler_name": "schedule",
    "schedule_type": "schedule", "tiling": "seamless", "variation_strength": "subseed_strength",
}
# fmt: on


def unknown(name: str, names: Collection[str], what: str) -> str:
    """What to say of a name that is not among the names.

    >>> unknown("eular", ["euler", "heun"], "sampler")
    "unknown sampler 'eular'; did you mean 'euler'? There are euler, heun"
    """
    near = get_close_matches(name, names, n=1)
    meant = ours(name, names) or (near[0] if near else None)
    hint = "." if meant is None else f"; did you mean {meant!r}?"
    all_names = ", ".join(names)
    shown = all_names if len(all_names) <= 350 else f"{all_names[:350].rpartition(',')[0]}, ..."
    return f"unknown {what} {short(name)}{hint} There are {shown}"


def ours(name: str, names: Collection[str]) -> str | None:
    """The one of our names (of `names`) that another program's name stands for, if any.

    >>> ours("--num-inference-steps", ["steps", "seed"])
    'steps'
    """
    words = FOREIGN.get(name.lstrip("-").replace("-", "_").lower(), "").split()
    return next((word for word in words if word in names), None)

"""What --help says of the commands that draw, and of the fields of Request beyond what they say
themselves; and what a command takes for those that are not given."""

from typing import Any

from ..request import Request
from ..runtime.checks import kinds

DRAWING = {
    "txt2img": "pictures of a prompt",
    "img2img": "pictures of a prompt, from a picture",
    "depth2img": "pictures of a prompt, with the depth of a picture",
    "inpaint": "a picture drawn anew where a mask is white",
    "outpaint": "a picture continued at its sides",
    "upscale": "a picture drawn larger, in tiles",
}

PROMPT = "a painting of a virus monster playing guitar"  # CompVis's default
DEFAULTS: dict[str, dict[str, Any]] = {  # of a command, for fields of Request
    "txt2img": {"prompt": PROMPT},
    "img2img": {"prompt": PROMPT},
    "upscale": {"upscale": 0.0},  # the model's
}
TOLD = {  # the same in words, for --help
    "txt2img": {"prompt": f"CompVis's, {PROMPT!r}"},
    "img2img": {"prompt": f"CompVis's, {PROMPT!r}"},
    "upscale": {"upscale": "0"},
    "replay": dict.fromkeys(kinds(Request), "what the file says"),
}

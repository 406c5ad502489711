"""The fields of a request that add something to the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from ..runtime.options import option


# fmt: off
@dataclass(frozen=True)
class Additions:
    """added to the model"""

    control: str | tuple[str, ...] | None = option(None,
        "FILE[:STRENGTH[:START[:END]]] of a ControlNet, T2I-Adapter or IP-Adapter, and the part of "
        "the steps that it controls; may be repeated", "--control", several=True, file=True,
        left_open="none")
    control_image: str | tuple[str, ...] | None = option(None,
        "the hint of each control, or the picture that --hint makes it from, or that an IP-Adapter "
        "reads; may be repeated",
        "--control_image", several=True, file=True, left_open="the picture to start from")
    hint: str | tuple[str, ...] | None = option(None,
        "how the hint of each control is made from its picture; may be repeated", "--hint",
        several=True, choices=("edges", "blur", "tile", "grey", "depth", "none"),
        left_open="none")
    control_kind: str | tuple[str, ...] | None = option(None,
        "what the hint of each union ControlNet is: canny, depth, openpose, ...; of any ControlNet "
        "whether it is for shuffle or inpaint; may be repeated",
        "--control_kind", several=True, left_open="as --hint, or the file, says")
    vision_tower: str | tuple[str, ...] | None = option(None,
        "file or folder of the CLIP with whose vision tower each IP-Adapter sees its picture; may "
        "be repeated", "--vision_tower", several=True, file=True, left_open="none")
    guess_mode: bool = option(False,
        "let controls guess the picture without a prompt, from the hint alone", "--guess_mode")
    lora: str | tuple[str, ...] | None = option(None,
        "a LoRA and its strength, FILE:0.8, or FILE:0.8:0.5 with another for the text encoder; "
        "may be given several times", "--lora", several=True, left_open="none", file=True)
    lora_dir: str | None = option(None,
        "folder of LoRAs, for <lora:NAME:0.8> in a prompt and --lora NAME:0.8", "--lora_dir",
        left_open="none", file=True)
    embedding_dir: str | None = option(None,
        "folder of embeddings (textual inversion): NAME.pt, NAME.safetensors for NAME in a prompt",
        "--embedding_dir", left_open="none", file=True)
    hypernetwork: str | tuple[str, ...] | None = option(None,
        "a hypernetwork of AUTOMATIC1111's and its strength, FILE:0.8; may be given several times",
        "--hypernetwork", several=True, left_open="none", file=True)

    @property
    def loras(self) -> tuple[str, ...]:
        """What `lora` lists."""
        return listed(self.lora)
# fmt: on


ENDINGS = ".safetensors", ".pt", ".ckpt", ".bin"
# Of whose files a picture keeps the names alone, and the web UI's tags of them; and folders.
TAGS = {"lora": "lora", "hypernetwork": "hypernet"}
FOLDERS = "lora_dir", "embedding_dir"


def listed(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else value


def file_and_strengths(entry: str, field: str = "lora") -> tuple[str, float, float]:
    """The file of an entry of a field, and its strengths for the U-Net and the text encoders.

    >>> file_and_strengths("fur.safetensors:0.8"), file_and_strengths("C:/ink.pt:1:-.5")
    (('fur.safetensors', 0.8, 0.8), ('C:/ink.pt', 1.0, -0.5))
    """
    parts, numbers = entry.split(":"), list[float]()
    while len(parts) > 1 and len(numbers) < 2:
        try:
            numbers.insert(0, float(parts[-1]))
        except ValueError:
            break
        parts.pop()
    if not (file := ":".join(parts)) or any(not -100 <= number <= 100 for number in numbers):
        two = ", or FILE:0.8:0.5" if field == "lora" else ""
        raise ValueError(f"{field} {entry!r}: give FILE:0.8{two}, of -100 to 100")
    unet, text = (*numbers, 1.0, 1.0)[:2] if len(numbers) != 1 else numbers * 2
    return file, unet, text


def is_file(name: str) -> bool:
    """Whether an entry means a file, and not a name that is looked up in `lora_dir`."""
    return name.endswith(ENDINGS) or "/" in name or "\\" in name


def name_of(file: str) -> str:
    r"""The name of a file, which opens nothing: without folders and ending.

    >>> name_of("loras/fur.v1.safetensors"), name_of("..\\x.pt.pt"), name_of("fur_1.5")
    ('fur.v1', 'x', 'fur_1.5')
    """
    name = PurePath(file.replace("\\", "/")).name
    while name.endswith(ENDINGS):
        name = name[: name.rindex(".")]
    return name

"""Everything that says what picture is wanted, in one frozen value.

A `Request` is the command's flags, the text inside each PNG, and a test's case. A field with its metadata is all that
a new flag needs: the command line, the checks and the JSON are read off the fields.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *flags: str,
    bounds: tuple[float, float] | None = None,
    from_image: bool = False,
    bare: Any = None,
) -> Any:
    """A field of Request: its help, its flags on the command line, its bounds, whether only img2img has it, and what
    a flag without a value means, if it may stand so."""
    metadata = {"help": help, "flags": flags, "bounds": bounds, "from_image": from_image, "bare": bare}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Request:
    """What to draw. Several prompts make several pictures; picture i, in the order of `split`, is drawn from seed + i.
    Of negative prompts there is one for all, or one for each prompt.

    A field that is None by default may be left so. steps, sampler, schedule, scale, width and height then become the
    model family's before anything is drawn (`with_defaults`), and emphasis that of `compat`, which is why their types
    do not speak of None; eta and the like are the sampler's own.
    """

    prompt: str | tuple[str, ...] = option("", "what to draw", "--prompt")
    negative: str | tuple[str, ...] = option("", "what to draw away from", "--negative_prompt")
    steps: int = option(None, "number of denoising steps", "--steps", "--ddim_steps", bounds=(1, 1000))
    sampler: str = option(None, "method of sampling", "--sampler")
    schedule: str = option(None, "how the noise levels are spaced", "--schedule")
    scale: float = option(None, "how strongly the prompt guides; 1: no guidance", "--scale", bounds=(-1000, 1000))
    eta: float | None = option(None, "noise added in each step, by the samplers that can", "--ddim_eta", bounds=(0, 10))
    seed: int = option(42, "where the noise of the first picture comes from", "--seed", bounds=(0, 2**64 - 1))
    width: int = option(None, "of the picture, in pixels", "--W", "--width", bounds=(1, 2**15))
    height: int = option(None, "of the picture, in pixels", "--H", "--height", bounds=(1, 2**15))
    count: int = option(1, "pictures of each prompt", bounds=(1, 10**6))
    image: str | None = option(None, "the picture file to start from", "--init-img", "--image", from_image=True)
    strength: float | None = option(None, "how far to leave the picture", "--strength", bounds=(0, 1), from_image=True)
    exact_steps: bool = option(
        False, "run all the steps, not round(steps * strength) of them", "--exact_steps", from_image=True
    )
    emphasis: str = option(None, "whose prompt grammar is used: a1111, comfyui or off", "--emphasis")
    clip_skip: int = option(
        1, "layer of the text encoder to read: 1 the last, 2 the one before", "--clip_skip", bounds=(1, 100)
    )
    wildcards: str | None = option(None, "folder of word lists: NAME.txt for __NAME__ in a prompt", "--wildcards")
    compat: str | None = option(None, "draw as a1111, comfyui, diffusers or compvis do", "--compat")
    only: int | None = option(None, "keep only this picture of the batch, counted from 0", bounds=(0, 10**6))
    skip: int = option(0, "draws of the noise that earlier batches of one stream made", "--skip", bounds=(0, 10**6))
    ensd: int = option(0, "A1111's: added to the seed for all noise but the first", "--ensd", bounds=(0, 2**32))
    match_colours: bool = option(
        False, "give the result the picture's mean colours and contrast", "--match_colours", from_image=True
    )
    colourise: bool = option(False, "keep the picture's luminance, draw the colour", "--colourise", from_image=True)
    mask: str | None = option(None, "the file of a mask: white is repainted", "--mask", from_image=True)
    mask_blur: float = option(
        0, "soften the mask's edge inwards, in pixels", "--mask_blur", bounds=(0, 1000), from_image=True
    )
    feather: bool = option(False, "soften it outwards too", "--feather", from_image=True)
    repaint_from: str = option(
        "original", "what the masked part starts from: original, fill or noise", "--repaint_from", from_image=True
    )
    only_masked: bool = option(False, "draw the masked part alone, larger", "--only_masked", from_image=True)
    padding: int = option(
        32, "pixels around the mask that --only_masked looks at", "--padding", bounds=(0, 2**15), from_image=True
    )
    enlarge: float | None = option(
        None, "make the picture so many times as large", "--enlarge", bounds=(0.1, 100), from_image=True
    )
    left: int = option(0, "pixels to add on the left", "--left", bounds=(0, 2**15), from_image=True)
    right: int = option(0, "pixels to add on the right", "--right", bounds=(0, 2**15), from_image=True)
    top: int = option(0, "pixels to add at the top", "--top", bounds=(0, 2**15), from_image=True)
    bottom: int = option(0, "pixels to add at the bottom", "--bottom", bounds=(0, 2**15), from_image=True)
    rescale: float = option(0, "of the guided contrast, how much to undo", "--guidance_rescale", bounds=(0, 1))
    guide_low: float = option(0, "guide only at noise levels above this", "--guide_low", bounds=(0, 10**4))
    guide_high: float | None = option(None, "guide only up to this noise level", "--guide_high", bounds=(0, 10**4))
    s_churn: float | None = option(None, "noise added before steps, by some samplers", "--s_churn", bounds=(0, 1000))
    s_tmin: float | None = option(None, "the lowest noise level of that", "--s_tmin", bounds=(0, 10**4))
    s_tmax: float | None = option(None, "the highest noise level of that", "--s_tmax", bounds=(0, 10**4))
    s_noise: float | None = option(None, "the scale of all noise added on the way", "--s_noise", bounds=(0, 10))
    zero_snr: bool = option(False, "let the noise levels end in pure noise, for a model so trained", "--zero_snr")
    variation: float = option(0, "how far to go towards the noise of variation_seed", "--variation", bounds=(0, 1))
    variation_seed: int = option(0, "one for all pictures", "--variation_seed", bounds=(0, 2**64 - 1))
    noise_width: int | None = option(None, "pixels the seed's noise is made for", "--noise_W", bounds=(1, 2**15))
    noise_height: int | None = option(None, "pixels the seed's noise is made for", "--noise_H", bounds=(1, 2**15))
    seamless: str | None = option(None, "let the picture join itself: x, y or xy", "--seamless", "--tiling")
    tile: int | None = option(None, "draw in overlapping tiles of so many pixels", "--tile", bounds=(1, 2**15))
    hires: float | None = option(None, "then enlarge by this factor and draw on", "--hires", bounds=(1, 16))
    hires_steps: int | None = option(None, "steps of that (steps)", "--hires_steps", bounds=(1, 1000))
    hires_strength: float = option(0.7, "strength of that", "--hires_strength", bounds=(0, 1))
    hires_pixels: bool = option(False, "enlarge the picture, not the latent", "--hires_pixels")
    watermark: str | None = option(
        None, "hide a text in the picture (Stable Diffusion's)", "--watermark", bare="StableDiffusionV1"
    )

    def __post_init__(self) -> None:
        problems = []
        for f in fields(self):
            try:
                object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
            except ValueError as problem:
                problems.append(str(problem))
        if not problems and len(self.negatives) != len(self.prompts):
            problems = [f"{len(self.negatives)} negatives for {len(self.prompts)} prompts: give one, or as many"]
        if not problems and self.seed + self.total > 2**64:
            problems = [f"seed {self.seed} leaves no room for {self.total} pictures below 2^64"]
        if not problems and self.only is not None and self.only >= self.total:
            problems = [f"only {self.only} is not among {self.total} pictures: give 0 to {self.total - 1}"]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    @property
    def negatives(self) -> tuple[str, ...]:
        """The negative prompt of each prompt."""
        return (self.negative,) * len(self.prompts) if isinstance(self.negative, str) else self.negative

    @property
    def total(self) -> int:
        """The number of pictures: `count` for each prompt."""
        return len(self.prompts) * self.count

    def split(self, size: int) -> list["Request"]:
        """The same pictures as requests of at most `size` pictures: all prompts once, all again, ... `count` times.

        >>> [(part.prompt, part.seed) for part in Request(("a", "b"), seed=5, count=2).split(3)]
        [(('a', 'b', 'a'), 5), ('b', 8)]
        """
        if size < 1:
            raise ValueError(f"{size} pictures at once: give 1 or more")
        prompts, negatives = self.prompts * self.count, self.negatives * self.count

        def part(i: int) -> "Request":
            own, seed = slice(i, i + size), self.seed + i
            return replace(self, prompt=prompts[own], negative=plain(negatives[own]), seed=seed, count=1, only=None)

        return [part(i) for i in range(0, len(prompts), size)]

    def kept(self, pictures: Sequence[T]) -> Sequence[T]:
        """Of all its pictures, or of something for each of them, what is wanted: all, or the one that is `only`."""
        return pictures if self.only is None else pictures[self.only : self.only + 1]

    def with_defaults(self, defaults: Mapping[str, Any]) -> "Request":
        """Every field that is None takes its default, where there is one."""
        return replace(self, **{key: value for key, value in defaults.items() if getattr(self, key) is None})

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """The inverse of `to_json`; absent fields take their defaults, unknown ones are an error."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"a request must be JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"a request must be a JSON object with fields of {', '.join(kinds())}")
        for name in values:
            known(name, kinds(), "field of a request")
        return cls(**values)


def plain(texts: tuple[str, ...]) -> str | tuple[str, ...]:
    """One text, if they are all the same."""
    return texts[0] if len(set(texts)) == 1 else texts


@cache
def kinds() -> dict[str, type]:
    """The type of each field; of those that may also be None or a list, the plain one."""
    hints = get_type_hints(Request)
    return {f.name: (get_args(hints[f.name]) or (hints[f.name],))[0] for f in fields(Request)}


def checked(f: Field[Any], value: Any) -> Any:
    """The value of a field as plain Python, or an error that says what the field takes."""
    if value is None and f.default is None:
        return None
    if f.name in ("prompt", "negative") and isinstance(value, (list, tuple)):
        texts = tuple(text for text in value if isinstance(text, str))
        if not texts or len(texts) < len(value):
            raise ValueError(f"{f.name} must be text, or a list of texts, not {value!r}")
        return tuple(checked(f, text) for text in texts) if len(texts) > 1 else checked(f, texts[0])
    kind = kinds()[f.name]
    if kind in (int, float):
        return checked_number(f, kind, value)
    if not isinstance(value, kind):
        raise ValueError(f"{f.name} must be {'true or false' if kind is bool else 'text'}, not {value!r}")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{f.name} must be text that UTF-8 can hold, not {value!r}")
    return value


def checked_number(f: Field[Any], kind: type, value: Any) -> int | float:
    low, high = f.metadata["bounds"]
    wanted = Integral if kind is int else Real  # NumPy's numbers are welcome
    if not isinstance(value, wanted) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{f.name} must be a {'whole ' * (kind is int)}number from {low} to {high}, not {value!r}")
    return kind(value)  # type: ignore[no-any-return]


def known(name: str, names: Collection[str], what: str) -> None:
    """An error that says what there is, if `name` is not among the names.

    >>> known("eular", ["euler", "heun"], "sampler")
    Traceback (most recent call last):
    ValueError: unknown sampler 'eular'; did you mean 'euler'? There are euler, heun
    """
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown {what} {name!r}{hint} There are {', '.join(names)}")

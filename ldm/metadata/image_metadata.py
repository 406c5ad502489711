"""What all readers of metadata give."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..request import FromPicture, Request

FIELDS = {field.name for field in fields(Request)}
FROM_IMAGE: dict[str, Any] = {  # the defaults of the fields that only a picture to start from has
    field.name: field.default for field in fields(FromPicture)
}
ANOTHER_VAE = "another VAE than the model's: give its file with --vae"  # it is no wish, but a file
GRID = 8  # pixels to a latent: programs drop what is left over of a side


@dataclass(frozen=True)
class ImageMetadata:
    """How a picture was made.

    program      who made it
    request      the same wishes, in this library's words
    model        what the file calls the model, if it does
    unsupported  the settings that the request cannot say, each with its value and the reason
    """

    program: str
    request: Request
    model: str | None
    unsupported: Mapping[str, str]

    def without_image(self) -> "ImageMetadata":
        """The same, to be drawn where there is no picture to start from."""
        own = {name: getattr(self.request, name) for name in FROM_IMAGE}
        dropped = {name: value for name, value in own.items() if value != FROM_IMAGE[name]}
        told = {
            name: f"{shortened(value)}: no picture was given" for name, value in dropped.items()
        }
        request = replace(self.request, **FROM_IMAGE)
        return replace(self, request=request, unsupported={**self.unsupported, **told})


def to_metadata(
    program: str, values: Mapping[str, Any], model: str | None, unsupported: Mapping[str, str]
) -> ImageMetadata:
    """Metadata of the values of a request's fields; None means not said. What no field takes is
    unsupported."""
    said, refused = {}, {}
    for name, value in values.items():
        try:
            if value is not None:
                check_field(name, value)
                said[name] = value
        except ValueError as reason:
            refused[name] = f"{shortened(value)}: {shortened(reason)}"
    for side in ("width", "height"):
        if (drawn := said.get(side, 8) // GRID * GRID or GRID) != said.get(side, 8):
            refused[side] = f"{said[side]}: sides are multiples of {GRID}, so it is {drawn}"
            said[side] = drawn
    try:
        request = Request(**said)
    except ValueError as reason:  # the seed leaves no room for so many pictures
        refused["count"] = f"{said.pop('count', 1)}: {shortened(reason)}"
        request = Request(**said)
    return ImageMetadata(program, request, model, {**unsupported, **refused})


def check_field(name: str, value: Any) -> None:
    """ValueError, if a request has no such field, or it does not take the value."""
    if name not in FIELDS:
        raise ValueError("there is no such setting here")
    Request(**{name: value})


def shortened(value: object) -> str:
    """A value as a part of one line, whatever stands in the file."""
    try:
        whole = str(value)
    except RecursionError:
        return "lists in lists"
    text = "".join(letter if letter.isprintable() else "?" for letter in whole[:200])
    return text if len(whole) <= 200 else f"{text} ..."

"""What all readers of metadata give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..request import Request, kinds


@dataclass(frozen=True)
class Origin:
    """How a picture was made.

    program   who made it
    request   the same wishes, in this library's words
    model     what the file calls the model, if it does
    lost      the settings that the request cannot say, each with its value and the reason
    """

    program: str
    request: Request
    model: str | None
    lost: Mapping[str, str]


def understood(program: str, values: Mapping[str, Any], model: str | None, lost: Mapping[str, str]) -> Origin:
    """The origin that these values of a request's fields make; None means not said. A field there is not is lost."""
    said = {name: value for name, value in values.items() if value is not None}
    unknown = {name: f"{value}: there is no such setting here" for name, value in said.items() if name not in kinds()}
    request = Request(**{name: value for name, value in said.items() if name in kinds()})
    return Origin(program, request, model, {**lost, **unknown})

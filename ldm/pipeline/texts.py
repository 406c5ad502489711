"""Prompts that are more than words: wildcards, and tags of what is to be added."""

from __future__ import annotations

from ..prompts.extra_networks import networks_in
from ..prompts.wildcards import expanded
from ..request import Request
from ..runtime.warn import warn

MARKS = "{", "__", "<"  # one of them stands in every such prompt


def with_texts(request: Request) -> Request:
    """The request with its wildcards replaced; a warning tells of what its prompts ask for in
    vain."""
    texts = " ".join((*request.prompts, *request.negatives))
    if request.wildcards is not None or "{" in texts or "__" in texts:
        request = expanded(request)
    for what in networks_in(request):
        warn(what)
    return request

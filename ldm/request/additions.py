"""The fields of a request that add something to the model."""

from __future__ import annotations

from dataclasses import dataclass


# fmt: off
@dataclass(frozen=True)
class Additions:
    """added to the model"""

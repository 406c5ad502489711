"""What is done with whole checkpoints, one tensor at a time: merged, converted, pruned."""

from .convert import convert
from .merge import merge

__all__ = ["convert", "merge"]

"""Checkpoints: open a file or a folder, recognise it, map it, check it, save it."""

from .loading import Checkpoint, read
from .mapped import CheckpointError
from .report import Report, inspect
from .saving import save
from .unpickle import UnsafePickle

__all__ = ["Checkpoint", "CheckpointError", "Report", "UnsafePickle", "inspect", "read", "save"]

"""Checkpoints: open a file or a folder, recognise it, map it, check it, save it."""

from .checkpoint import Checkpoint
from .components import read_components
from .errors import CheckpointError
from .loading import read
from .report import Report, inspect
from .saving import save
from .unpickle import UnsafePickle

__all__ = ["Checkpoint", "CheckpointError", "Report", "UnsafePickle"]
__all__ += ["inspect", "read", "read_components", "save"]

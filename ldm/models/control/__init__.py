"""The files of ControlNets and T2I-Adapters: recognised by their names and shapes, and read."""

from .loading import ControlNetwork, read_control
from .recognise import of_control

__all__ = ["ControlNetwork", "of_control", "read_control"]

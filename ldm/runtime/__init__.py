"""What all parts stand on: files, devices, options; nothing of it knows a model."""

__version__ = "0.2.0"

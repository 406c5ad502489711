"""What all parts stand on: files, devices, options; nothing of it knows a model."""

__version__ = "0.1.0"

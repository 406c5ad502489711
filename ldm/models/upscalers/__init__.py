"""Networks that make a picture larger, from the files in which people share them."""

from .opening import Upscaler, check_upscaler, open_upscaler

__all__ = ["Upscaler", "check_upscaler", "open_upscaler"]

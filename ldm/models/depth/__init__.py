"""The estimator of depth in the files of Stable Diffusion 2 depth: MiDaS's DPT-Hybrid."""

from .opening import Estimator, estimator_in

__all__ = ["Estimator", "estimator_in"]

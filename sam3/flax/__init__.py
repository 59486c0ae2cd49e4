"""SAM 3's detector in Flax NNX: the same weights, the same answers, on whatever XLA runs on.

from sam3.flax.weights import load_detector
detector = load_detector("sam3-lite")
vision = detector.encode_images(pixels)  # (B, S, S, 3) in [-1, 1]

Feature maps have their channels last throughout. `sam3.engines.jax_engine` is what callers use.
"""

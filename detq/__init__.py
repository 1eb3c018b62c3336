"""INT8 for trained detectors: post-training quantization, measured on the real engine."""

__version__ = "0.1.0"

"""One pass over the images: what every point of the network looks like."""

from detq.observe.collect import collect

__all__ = ["collect"]

"""Decide what is rounded where, from the graph alone."""

from detq.placement.candidates import candidates
from detq.placement.place import place

__all__ = ["candidates", "place"]

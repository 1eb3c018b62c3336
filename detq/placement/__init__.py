"""Decide what is rounded where, from the graph alone."""

from detq.placement.place import place

__all__ = ["place"]

"""Torch files read as data: no torch, nothing of the file's is imported or run."""

"""What can be put in front of a finished file's network and behind it."""

from detq.dialects.heads.heads import Heads, check_heads, heads_from, with_heads

__all__ = ["Heads", "check_heads", "heads_from", "with_heads"]

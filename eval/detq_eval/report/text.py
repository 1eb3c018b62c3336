"""Figures as the page writes them."""

import math

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
PERCENT = "\N{NO-BREAK SPACE}%"
DECILES = f"10{PERCENT} to 90{PERCENT}"


def points(share: float) -> str:
    """0…1 as COCO's papers write it, 0 to 100; a dash where there is nothing to score."""
    return f"{100 * share:.2f}" if share >= 0 else NOTHING


def signed(value: float, digits: int = 2) -> str:
    """With its sign, and none on zero."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def number(value: float) -> str:
    """Three digits, as many as a range needs to be told."""
    return f"{value:.3g}".replace("-", MINUS)


def in_decibels(ratio: float) -> str:
    """A ratio of signal and noise, of which either may be missing."""
    if math.isinf(ratio):
        return "no noise" if ratio > 0 else "no signal"
    return f"{ratio:.1f} dB".replace("-", MINUS)


def megabytes(size: int) -> str:
    """Millions of bytes."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e6:.2f} MB"


def share(value: float) -> str:
    """0…1 in percent."""
    return (
        "none"
        if value == 0
        else f"under 0.01{PERCENT}"
        if value < 1e-4
        else f"{100 * value:.2f}{PERCENT}"
    )

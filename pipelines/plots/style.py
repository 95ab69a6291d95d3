"""Colours and markers that all pictures share, and how pictures are written."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

# Names of experiments, classes and files are not formulas, whatever characters they have.
mpl.rcParams["text.parse_math"] = False

INK, MUTED, ACCENT, ALARM = "#1f2430", "#b4b9c6", "#d9622b", "#b3121d"

# A family has a colour and a marker, so that no reader depends on colours alone.
PALETTE = (ACCENT, "#2f6db3", "#2a8f6b", "#8a5bb5", "#b0861f", "#c2477f", "#3596a5", INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the figure alone."""
    figure.savefig(path, dpi=150, metadata={"Software": None})

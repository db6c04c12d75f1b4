"""A figure as the bytes of a file."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


def png(figure: Figure, dpi: int = 130) -> bytes:
    """A figure as PNG bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()

"""ArchitectureDiagram: joint-embedding, generative and joint-embedding predictive architectures (figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import traitlets
from matplotlib.ticker import LogLocator

from ijepa_viz.data.transforms import read_image
from ijepa_viz.figures.figure import Figure
from ijepa_viz.widgets.picture_widget import PictureWidget, data_uri, javascript

# As in the announcement; the keys are those of ``train.objectives.OBJECTIVES``.
ARCHITECTURES = {"invariance": "Joint-embedding", "mae": "Generative", "ijepa": "Joint-embedding predictive"}


class ArchitectureDiagram(PictureWidget):
    """Interactive diagram of the three architectures, with the energies of candidate completions.

    Args:
        picture: image of the visible part, x; None draws no images.
        candidates: name -> (image, description), the true completion first.
        energies: architecture (a key of :data:`ARCHITECTURES`) -> one energy a candidate. Shown relative to the true
            completion's, because the scales differ.

    Raises:
        ValueError: an unknown architecture, or another number of energies than of candidates.
    """

    _esm = javascript("architecture_diagram.js")

    picture = traitlets.Unicode("").tag(sync=True)
    candidates = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    energies = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        picture: Any = None,
        candidates: Mapping[str, tuple[Any, str]] | None = None,
        energies: Mapping[str, Sequence[float]] | None = None,
        **traits: Any,
    ) -> None:
        found = candidates or {}
        for name, values in (energies or {}).items():
            if name not in ARCHITECTURES:
                raise ValueError(f"No architecture {name!r}; there are {', '.join(ARCHITECTURES)}.")
            if len(values) != len(found):
                raise ValueError(f"{len(found)} candidates, but {len(values)} energies of {name!r}.")
        super().__init__(
            picture="" if picture is None else data_uri(read_image(picture)),
            candidates=[
                {"name": name, "picture": data_uri(read_image(image)), "about": about}
                for name, (image, about) in found.items()
            ],
            energies={name: [float(v) for v in values] for name, values in (energies or {}).items()},
            **traits,
        )

    def still(self) -> tuple[Figure, str]:
        """Bar charts of each architecture's energies, or the names only."""
        names = [candidate["name"] for candidate in self.candidates]
        figure = Figure(
            "The energies of candidates under three architectures, over the true completion's, on a logarithmic axis.",
            figsize=(9, 1.0 + 0.24 * max(4, len(names))),
            layout="constrained",
        )
        texts = []
        axes: Any = figure.subplots(1, 3, sharey=True, sharex=True)
        for axis, (key, title) in zip(axes, ARCHITECTURES.items(), strict=True):
            axis.set_title(title, fontsize=11)
            values = self.energies.get(key)
            if not values or not values[0]:
                axis.set_axis_off()
                texts.append(title)
                continue
            relative = [value / values[0] for value in values]
            # From the truth's energy outwards, orange for less compatible than the truth.
            colours = ["#D55E00" if value > 1 else "#0072B2" for value in relative]
            axis.barh(names, [value - 1 for value in relative], left=1, color=colours)
            for row, value in enumerate(relative):
                axis.annotate(
                    f"{value:.2f}", (max(value, 1), row), (3, 0), textcoords="offset points", va="center", fontsize=9
                )
            axis.set_xscale("log")
            axis.axvline(1, color="0.2", linewidth=1)
            axis.margins(x=0.18)
            axis.xaxis.set_major_locator(LogLocator(2))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("")
            axis.set_xlabel("energy over the truth's", fontsize=9)
            axis.tick_params(labelsize=10)
            texts.append(f"{title}: " + ", ".join(f"{n} {v:.2f}" for n, v in zip(names, relative, strict=True)))
        axes[0].invert_yaxis()
        return figure, "Three architectures. " + ". ".join(texts)

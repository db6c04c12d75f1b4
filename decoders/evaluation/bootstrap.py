"""Bootstrap intervals over pictures: those of :mod:`ijepa_viz.probes.bootstrap` that metrics of decoders use."""

from __future__ import annotations

from ijepa_viz.probes.bootstrap import balanced_accuracy, correlation, interval, mean, pearson

__all__ = ["balanced_accuracy", "correlation", "interval", "mean", "pearson"]

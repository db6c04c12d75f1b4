"""The ``ijepa-viz`` command, one file a command: the one place that composes the library and the decoders."""

from ijepa_viz.cli.parser import main

__all__ = ["main"]

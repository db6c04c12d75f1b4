"""Inspections: one question about one prediction, a probe and its figure in one file each."""

from ijepa_viz.inspections.inspection import LOOKS, Question
from ijepa_viz.registry import import_files

import_files(__name__)  # an inspection's file registers itself

__all__ = ["LOOKS", "Question"]

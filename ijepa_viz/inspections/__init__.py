"""Inspections of one prediction: a measurement and its figure, one file each."""

from ijepa_viz.inspections.inspection import INSPECTIONS, InspectionInput
from ijepa_viz.registry import import_files

import_files(__name__)  # an inspection's file registers itself

__all__ = ["INSPECTIONS", "InspectionInput"]

"""Training objectives: their interface, their registry, and one file for each objective."""

from ijepa_viz.registry import import_files
from train.objectives.objective import OBJECTIVES, Objective, build, load_objective

import_files(__name__)  # an objective's file registers itself

__all__ = ["OBJECTIVES", "Objective", "build", "load_objective"]

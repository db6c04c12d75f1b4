"""What a run minimises: the interface of an objective, and the registry of them."""

from ijepa_viz.registry import import_files
from train.objectives.objective import OBJECTIVES, Objective, build, open_trained

import_files(__name__)  # an objective's file registers itself

__all__ = ["OBJECTIVES", "Objective", "build", "open_trained"]

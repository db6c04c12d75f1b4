"""What people touch: anywidget widgets with plain JavaScript and no request to anywhere."""

from ijepa_viz.widgets.mask_painter import MaskPainter
from ijepa_viz.widgets.prediction_explorer import PredictionExplorer

__all__ = ["MaskPainter", "PredictionExplorer"]

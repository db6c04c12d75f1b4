"""anywidget widgets in plain JavaScript, without network requests; one .py and one .js each."""

from importlib.util import find_spec

if find_spec("anywidget") is None:
    raise ModuleNotFoundError("The widgets need anywidget: pip install 'ijepa-viz[lab]' (in a clone: '.[lab]').")

from ijepa_viz.widgets.architecture_diagram import ArchitectureDiagram
from ijepa_viz.widgets.film_explorer import FilmExplorer
from ijepa_viz.widgets.mask_painter import MaskPainter
from ijepa_viz.widgets.mask_sampler import MaskSampler
from ijepa_viz.widgets.offline import offline_page
from ijepa_viz.widgets.prediction_explorer import PredictionExplorer
from ijepa_viz.widgets.run_monitor import RunMonitor

__all__ = [
    "ArchitectureDiagram",
    "FilmExplorer",
    "MaskPainter",
    "MaskSampler",
    "PredictionExplorer",
    "RunMonitor",
    "offline_page",
]

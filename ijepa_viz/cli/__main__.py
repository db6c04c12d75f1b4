"""``python -m ijepa_viz.cli``."""

import sys

from ijepa_viz.cli import main

sys.exit(main())

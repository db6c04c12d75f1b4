"""Draw scenes START to STOP to stdout as raw uint8: ``python -m ijepa_viz.data.menagerie START STOP SIZE SEED``."""

import sys

from ijepa_viz.data.menagerie import scenes

if __name__ == "__main__":
    start, stop, size, seed = map(int, sys.argv[1:])
    for index in range(start, stop):
        sys.stdout.buffer.write(scenes(index, index + 1, size, seed).tobytes())

"""Draw films to stdout as raw uint8: ``python -m ijepa_viz.data.menagerie.film_worker START STOP SIZE SEED FRAMES``."""

import sys

from ijepa_viz.data.menagerie.film_clip import films

if __name__ == "__main__":
    start, stop, size, seed, frames = map(int, sys.argv[1:])
    for index in range(start, stop):
        sys.stdout.buffer.write(films(index, index + 1, size, seed, frames).tobytes())

"""Time the live page's model in headless Chromium: ready, first preview and samples after a stroke, p50 and p95.

    python tools/page_latency.py out/page --repeats 30 --threads 1 2

The folder needs the engine's scripts, models/ and ort/ (``make page``). Wall times are of a machine as it is, so the
load average is printed beside them; the browser's processor time hardly depends on it.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ijepa_viz.page.build import HEADERS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_BARE = '<!doctype html><html lang="en"><title>latency</title><link rel="icon" href="data:,"><h1>latency</h1></html>'

_LOAD = """async ({ threads, backend }) => {
  const { createEngine } = await import("./engine.js");
  const began = performance.now();
  window.engine = await createEngine({ threads, backend });
  return { ready: performance.now() - began, backend: engine.backend, threads: engine.threads, note: engine.note };
}"""

# A stroke: what the page asks for at pointer-up.
_STROKE = """async ({ samples, side, seed }) => {
  const [height, width] = engine.manifest.size;
  const [rows, cols] = engine.manifest.grid;
  const image = new Uint8ClampedArray(4 * height * width).map((_, i) => (i * 37 + seed) % 256);
  const corner = [seed % (rows - side + 1), (seed * 3) % (cols - side + 1)];
  const hidden = [];
  for (let r = corner[0]; r < corner[0] + side; r += 1) {
    for (let c = corner[1]; c < corner[1] + side; c += 1) hidden.push(r * cols + c);
  }
  const began = performance.now();
  let first = null;
  await engine.sample({ image, hidden, samples, seed, onStep: () => { first ??= performance.now() - began; } });
  return { preview: first, samples: performance.now() - began };
}"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def do_GET(self) -> None:
        if self.path == "/latency":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(_BARE.encode())
        else:
            super().do_GET()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():  # without them a browser gives a page one thread
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port; gives the address of an empty page in it."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/latency"
        finally:
            server.shutdown()


def processor_seconds(browser: Any) -> float:
    """Processor time of the browser's pages so far, all threads together."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return sum(process["cpuTime"] for process in found if process["type"] == "renderer")


def measure(browser: Any, url: str, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Times of one setting, in milliseconds."""
    page = browser.new_page()
    page.goto(url)
    before = processor_seconds(browser)
    loaded = page.evaluate(_LOAD, {"threads": threads, "backend": options.backend})
    loaded["ready_processor"] = 1000 * (processor_seconds(browser) - before)
    found: dict[str, list[float]] = {"preview": [], "samples": [], "processor": []}
    for seed in range(options.repeats):
        before = processor_seconds(browser)
        times = page.evaluate(_STROKE, {"samples": options.samples, "side": options.side, "seed": seed})
        found["processor"].append(1000 * (processor_seconds(browser) - before))
        for name, value in times.items():
            found[name].append(value)
    page.close()
    spread = {name: [float(np.percentile(values, q)) for q in (50, 95)] for name, values in found.items()}
    return {**loaded, **spread, "load": os.getloadavg()[0]}


def browser_tools() -> tuple[Any, str]:
    """Playwright's entry point and the path of an installed browser; ends the program where one is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("playwright is needed: `make test` installs it.")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit("A Chromium or Chrome is needed.")
    return sync_playwright, program


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the page")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--side", type=int, default=4, help="of the square hole, in patches")
    parser.add_argument("--backend", default="wasm", choices=("auto", "wasm", "webgpu"))
    parser.add_argument("--json", type=Path, help="also write the numbers as JSON")
    options = parser.parse_args()
    sync_playwright, program = browser_tools()
    rows = []
    with served(options.folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for threads in options.threads:
            row = measure(browser, url, threads, options)
            rows.append(row)
            print(
                f"{row['backend']}, {row['threads']} threads: ready {row['ready']:.0f} ms (processor "
                f"{row['ready_processor']:.0f}); p50, p95 in ms: first preview "
                f"{row['preview'][0]:.0f}, {row['preview'][1]:.0f}; {options.samples} samples {row['samples'][0]:.0f}, "
                f"{row['samples'][1]:.0f}; processor {row['processor'][0]:.0f}, {row['processor'][1]:.0f}; load "
                f"average {row['load']:.1f}"
            )
        browser.close()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

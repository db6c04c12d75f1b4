"""``ijepa-viz page``: build the live page, in which the model runs in the browser, and serve it."""

from __future__ import annotations

import argparse
import functools
import http.server
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import positive
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.runtime.files import write_file
from ijepa_viz.runtime.outputs import check_output, check_output_folder


def _page(options: argparse.Namespace) -> int:
    check_output_folder(options.out)
    check_output(options.single_file)
    if not options.only_serve:
        _build(options)
    elif options.serve is None:
        raise ValueError("--only-serve needs --serve PORT.")
    elif options.single_file is not None:
        raise ValueError("--single-file is built: leave --only-serve out.")
    elif not (options.out / "index.html").is_file():
        raise FileNotFoundError(f"{options.out} holds no page: leave --only-serve out, and it is built.")
    if options.serve is not None:
        _serve(options.out, options.serve)
    return 0


def _build(options: argparse.Namespace) -> None:
    import_libraries()
    from decoders.loading import load_decoder
    from ijepa_viz import checkpoints
    from ijepa_viz.page.build import build_page, missing_parts
    from ijepa_viz.page.models_folder import MANIFEST, check_is_export_of
    from ijepa_viz.page.scripts import single_file
    from ijepa_viz.prediction import check_pair
    from ijepa_viz.runtime.progress import Progress

    with Progress(f"loading {options.model}"):
        model = checkpoints.load_model(options.model).eval()
        decoder = load_decoder(decoder_of(options.model))
    check_pair(model, decoder)
    exported = options.out / "models"
    if (exported / MANIFEST).is_file():  # else the page would show one model's answers beside another's
        check_is_export_of(exported, model, decoder)
    films = None
    if options.films is not None:
        films = (checkpoints.load_model(options.films).eval(), load_decoder(decoder_of(options.films)))
    answered = min(options.answered, options.pictures)
    build_page(options.out, model, decoder, pictures=options.pictures, answered=answered, films=films)
    if missing := missing_parts(options.out):
        print(
            f"{options.out} has no {' and no '.join(missing)}: the page shows answers that were computed before. "
            f"`make page` adds the model and its runtime."
        )
    total = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out / 'index.html'}  {total / 2**20:.1f} MiB in all")
    if options.single_file:
        write_file(options.single_file, single_file(options.out).encode())
        print(f"{options.single_file}  {options.single_file.stat().st_size / 2**20:.1f} MiB")


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Sends the headers without which a browser gives a page one thread only."""

    def end_headers(self) -> None:
        from ijepa_viz.page.build import HEADERS

        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()


def _serve(folder: Path, port: int) -> None:
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl+C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("out/page"), metavar="FOLDER", help="default: out/page")
    parser.add_argument("--model", default="menagerie-tiny", metavar="NAME", help="default: menagerie-tiny")
    parser.add_argument(
        "--films", metavar="NAME", help="model of films, with a decoder, for a chapter on films (default: without)"
    )
    parser.add_argument(
        "--single-file", type=Path, metavar="FILE", help="also write the page as one HTML file that opens from the disk"
    )
    parser.add_argument(
        "--pictures", type=positive, default=176, metavar="N", help="pictures to choose from (default: 176)"
    )
    parser.add_argument(
        "--answered", type=positive, default=4, metavar="N",
        help="of these, pictures with answers that are computed before, for browsers that run no model (default: 4)",
    )  # fmt: skip
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve the page on this machine; 0 takes a free port")
    parser.add_argument("--only-serve", action="store_true", help="with --serve: build nothing")


COMMANDS.register("page")(Command("build the live page, in which the model runs in the browser", _arguments, _page))

"""The folder ``ort/`` of the page: onnxruntime-web from the npm registry, pinned by version and checksum.

``python -m ijepa_viz.page.runtime_files FOLDER`` fetches it, as ``make page`` does.

It is fetched when the page is built and not kept in the repository: 40 MB, of which gzip leaves 10.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import importlib.metadata
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from ijepa_viz.runtime.command_line import attempt
from ijepa_viz.runtime.files import cache_folder, folder_or_nothing, write_file
from ijepa_viz.runtime.progress import Progress

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"

# Subresource integrity of the package's archive, as the registry states it: base64 of its sha512.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

# Scripts with their loader inside, and the binaries: for the processor alone, and with WebGPU.
SCRIPTS = ("ort.wasm.bundle.min.mjs", "ort.webgpu.bundle.min.mjs")
BINARIES = ("ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.asyncify.wasm")

# Of the Python package of the same version, because the archive of npm has no copy.
_LICENCES = ("LICENSE", "ThirdPartyNotices.txt")

FILES = "files.json"


def fetch_runtime(folder: Path, webgpu: bool = True) -> list[Path]:
    """Write onnxruntime-web's scripts, its binaries packed by gzip, its licence, and ``files.json``, name -> bytes.

    The archive is kept in the cache folder.

    Args:
        folder: new or empty; written completely or not at all.
        webgpu: with the runtime for WebGPU, 6.3 MiB more.

    Returns:
        The written files.

    Raises:
        FileExistsError: a folder that is not empty. FileNotFoundError: no npm, or no onnxruntime, whose licence belongs
        beside. ValueError: a wrong checksum, or onnxruntime of another version. OSError: no network, or the disk
        refuses.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder.")
    licences = _licences()
    files: dict[str, bytes] = {}
    count = 2 if webgpu else 1
    with tarfile.open(fileobj=io.BytesIO(archive())) as packed:
        for name in SCRIPTS[:count]:
            files[name] = _member(packed, name)
        for name in BINARIES[:count]:
            with Progress(f"packing {name}"):
                files[f"{name}.gz"] = gzip.compress(_member(packed, name), 9, mtime=0)
    sizes = {name: len(data) for name, data in files.items()}
    files |= licences
    files[FILES] = (json.dumps({"version": VERSION, **sizes}, indent=1) + "\n").encode()
    with folder_or_nothing(folder) as partial:
        for name, data in files.items():
            write_file(partial / name, data)
    return sorted(folder / name for name in files)


def archive() -> bytes:
    """The package's archive, from the cache folder or by npm.

    Raises:
        FileNotFoundError: no npm. OSError: no network. ValueError: a wrong checksum.
    """
    kept = cache_folder() / f"{PACKAGE}-{VERSION}.tgz"
    if kept.is_file() and _is_right(kept.read_bytes()):
        return kept.read_bytes()
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"The page's runtime, {PACKAGE} {VERSION}, comes from the npm registry, and there is no npm here: install "
            f"Node.js, or put the package's archive at {kept}."
        )
    with Progress(f"fetching {PACKAGE} {VERSION}"), tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--loglevel=error", "--pack-destination", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        found = sorted(Path(folder).glob("*.tgz"))
        if done.returncode or not found:
            raise OSError(f"npm could not fetch {PACKAGE} {VERSION}: {done.stderr.strip()[-300:]}")
        data = found[0].read_bytes()
    if not _is_right(data):
        raise ValueError(f"What npm fetched as {PACKAGE} {VERSION} has another checksum: it is not used.")
    write_file(kept, data)
    return data


def _is_right(data: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(data).digest()).decode() == INTEGRITY


def _member(packed: tarfile.TarFile, name: str) -> bytes:
    file = packed.extractfile(f"package/dist/{name}")
    assert file is not None, name
    return file.read()


def _licences() -> dict[str, bytes]:
    try:
        installed = importlib.metadata.distribution("onnxruntime")
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError("The page needs the package onnxruntime: pip install 'ijepa-viz[page]'.") from error
    if installed.version != VERSION:
        raise ValueError(
            f"onnxruntime {installed.version} is installed, and the page's runtime is {VERSION}, whose licence belongs "
            f"beside it: pip install onnxruntime=={VERSION}."
        )
    return {name: Path(str(installed.locate_file(f"onnxruntime/{name}"))).read_bytes() for name in _LICENCES}


def main(arguments: list[str] | None = None) -> int:
    """Fetch into the folder that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description=f"Fetch {PACKAGE} {VERSION} for the live page.")
    parser.add_argument("folder", type=Path, help="new or empty")
    options = parser.parse_args(arguments)

    def fetch() -> None:
        for path in fetch_runtime(options.folder):
            print(f"{path}  {path.stat().st_size / 2**20:.2f} MiB")

    return attempt("page", fetch)


if __name__ == "__main__":
    sys.exit(main())

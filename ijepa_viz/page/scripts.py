"""Scripts of the live page: the widgets' as one module, and all modules as one script for the single file."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from ijepa_viz.widgets.picture_widget import javascript

_WIDGETS = (
    "painter_files.js", "picture_crop.js", "painter_surface.js", "explorer_parts.js", "explorer_sketch.js",
    "explorer_game.js", "mask_sampler.js",
)  # fmt: skip
_NAMES = (
    "STYLE", "EXPLORER_STYLE", "element", "vector", "viridis", "border", "paintingSurface", "readPicture", "cropPanel",
    "gamePanel", "maskSampler",
)  # fmt: skip

# Files of the runtime that the single file leaves out: they are half of it, and it computes without them.
_WITH_WEBGPU = ("asyncify", "webgpu")

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|class|const|let) (\w+)", re.MULTILINE)
_EXPORT_LIST = re.compile(r"^export \{([^}]*)\};\n", re.MULTILINE)


def painter_module() -> str:
    """``painter.js``: the widgets' own scripts, which import nothing, as one module of the page."""
    text = javascript(*_WIDGETS).replace("export default {", "const maskSampler = {")
    return f"{text}\nexport {{ {', '.join(_NAMES)} }};\n"


def bundle(folder: Path, entry: str = "page.js") -> str:
    """All modules that ``entry`` imports as one script, each in a scope of its own.

    Raises:
        ValueError: an import or export in a form that is not understood.
    """
    order = _modules(folder, entry)
    return "\n".join(_scoped(name, (folder / name).read_text(encoding="utf-8")) for name in order)


def _modules(folder: Path, entry: str) -> list[str]:
    """``entry`` and all modules that it imports, each after those that it needs."""
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...] = ()) -> None:
        if name in path:
            raise ValueError(f"{name} imports itself by way of {', '.join(path)}.")
        if name in order:
            return
        for _, other in _IMPORT.findall((folder / name).read_text(encoding="utf-8")):
            visit(other, (*path, name))
        order.append(name)

    visit(entry)
    return order


def _scoped(name: str, text: str) -> str:
    exported = [found[1] for found in _EXPORT.findall(text)]
    for names in _EXPORT_LIST.findall(text):
        exported += [one.strip() for one in names.split(",") if one.strip()]
    text = _IMPORT.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = {_variable(found[2])};\n", text)
    text = _EXPORT_LIST.sub("", _EXPORT.sub(r"\1 \2", text))
    left = re.search(r"^(import|export)\b.*", text, re.MULTILINE)
    if left:
        raise ValueError(f"{name}: the single file cannot hold {left[0]!r}.")
    return f"const {_variable(name)} = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();"


def _variable(name: str) -> str:
    return "module_" + re.sub(r"\W", "_", name)


def single_file(folder: Path) -> str:
    """The built page as one HTML text that opens from the disk: styles, scripts, pictures and models inside.

    Args:
        folder: of :func:`ijepa_viz.page.build.build_page`, with ``models/`` and ``ort/`` if the model is to run.
    """
    text = (folder / "index.html").read_text(encoding="utf-8")
    style = (folder / "page.css").read_text(encoding="utf-8")
    text = text.replace('<link rel="stylesheet" href="page.css">', f"<style>\n{style}</style>")
    files = json.dumps(inlined_files(folder)).replace("</", "<\\/")
    held = (
        f'<script type="application/json" id="files">{files}</script>\n'
        '<script>globalThis.ijepaFiles = JSON.parse(document.getElementById("files").textContent);'
        'document.getElementById("files").remove();</script>'
    )
    script = bundle(folder).replace("</script", "<\\/script")
    return text.replace(
        '<script type="module" src="page.js"></script>', f'{held}\n<script type="module">\n{script}\n</script>'
    )


def inlined_files(
    folder: Path, entry: str = "page.js", folders: tuple[str, ...] = ("data", "models", "ort")
) -> dict[str, str]:
    """Name -> text of scripts and JSON, base64 of the rest, as ``createEngine`` of engine.js takes it."""
    found = {}
    bundled = _modules(folder, entry)
    places = [folder.glob("*"), *((folder / name).rglob("*") for name in folders)]  # a folder may be a link
    for path in sorted(p for place in places for p in place if p.is_file()):
        name = path.relative_to(folder).as_posix()
        is_worker = name.endswith(".js") and "/" not in name and name not in bundled
        if any(part in name for part in _WITH_WEBGPU):
            continue
        if name.split("/")[0] not in folders and not is_worker:
            continue
        content = path.read_bytes()
        is_text = path.suffix in (".js", ".mjs", ".json", ".txt", ".md") or not path.suffix
        found[name] = content.decode() if is_text else base64.b64encode(content).decode()
    return found

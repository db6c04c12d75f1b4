"""Endings of picture files: which are read here and now, and which are known but not read, with what to do instead."""

from __future__ import annotations

import importlib.util
from functools import cache

from PIL import features

_HEIF = importlib.util.find_spec("pillow_heif") is not None


@cache
def register_heif() -> None:
    """Let Pillow open HEIC and HEIF, where the extra ``heic`` (pillow-heif) is installed; on the first picture."""
    if _HEIF:
        import pillow_heif

        pillow_heif.register_heif_opener()


_ALWAYS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
# What a build of Pillow may lack: endings, whether they can be read, and what to do if not.
_OPTIONAL = (
    ((".heic", ".heif"), _HEIF, "install pillow-heif (pip install 'ijepa-viz[heic]')"),
    ((".avif",), importlib.util.find_spec("PIL._avif") is not None, "install Pillow 11.3 or newer"),
    ((".jp2", ".j2k", ".jpx"), features.check("jpg_2000"), "install a Pillow with OpenJPEG, such as pip's"),
)

#: Endings, in lower case, of the picture files that can be read now.
SUFFIXES: tuple[str, ...] = _ALWAYS + tuple(s for endings, there, _ in _OPTIONAL if there for s in endings)


def _each(endings: str, advice: str) -> dict[str, str]:
    return dict.fromkeys(endings.split(), advice)


#: Endings, in lower case, of pictures and videos that cannot be read now -> what to do.
KNOWN_BUT_UNREADABLE: dict[str, str] = {
    **{s: advice for endings, there, advice in _OPTIONAL if not there for s in endings},
    **_each(".gif .apng .avifs .heics .hif", "save its picture (one frame) as PNG or JPEG"),
    **_each(".svg .svgz .eps .ps .pdf .ai .wmf .emf", "draw it as PNG at the size that is wanted"),
    **_each(".psd .psb .xcf .kra .tga .ico .icns .dds .jxl .exr .hdr .pcx .qoi", "save it as PNG or JPEG"),
    **_each(".fit .fits .dcm .nii .npy .npz .mat", "save its pictures as PNG or TIFF of 8 or 16 bits"),
    **_each(
        ".raw .dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 .raf .pef .srw .x3f .3fr .rwl .iiq",
        "develop the camera's raw file to JPEG, PNG or TIFF",
    ),
    **_each(
        ".mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .wmv .flv .3gp .mts .m2ts",
        "extract frames (ffmpeg -i VIDEO -vf fps=1 frame-%05d.jpg), or open the folder as films (video:FOLDER)",
    ),
}

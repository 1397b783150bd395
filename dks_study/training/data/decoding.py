"""From an image file to red, green and blue of 8 bits each: one way for images in memory and on the fly.

| mode in the file (Pillow's word) | what becomes of it |
|---|---|
| 1, L, P, RGB, YCbCr, HSV, CMYK | Pillow's conversion to RGB; grey becomes three equal channels |
| I;16 and its byte orders, I of a PGM file | the high byte of 16 bits, which is what Pillow takes of 16-bit colour |
| LA, PA, La, RGBA, RGBa, transparent colours of 1, L, P, RGB | laid on BACKGROUND |
| I, F, LAB | refused: their range is not known, or Pillow has no conversion |

A picture is turned as its EXIF orientation says. Colour profiles are not applied; of several pictures in a file the
first is taken.
"""

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from dks_study.spec.base import printable
from dks_study.training.data.error import DataError

BACKGROUND = (255, 255, 255)  # white, as the page behind a picture
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
MODES = ("1", "L", "P", "RGB", "RGBX", "YCbCr", "HSV", "CMYK", "LA", "PA", "La", "RGBA", "RGBa", *SIXTEEN_BITS)
_JPEG_END, _PNG_END, _END_BYTES = b"\xff\xd9", b"IEND", 32


class _ModeError(ValueError):
    """Pillow can open the picture, but not as red, green and blue of 8 bits."""


def read_picture(path: str) -> Image.Image:
    """Return a file as an upright RGB image.

    Raises:
        DataError: if it is not an image that can be read, or of a mode that is refused.
    """
    try:
        with Image.open(path) as file:
            return _as_rgb(file)
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken file makes Pillow raise
        raise DataError(_complaint(path, error)) from error


def complaint_about(path: str, content: bytes) -> str | None:
    """Return what `read_picture` would complain of, as far as header and end of a file tell; None for nothing.

    A file that does not end as its kind should is decoded: many whole ones have something behind their end.
    """
    try:
        with Image.open(BytesIO(content)) as file:
            _check_mode(file)
            if not _ends_well(file.format, content):
                file.load()
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken file makes Pillow raise
        return _complaint(path, error)
    return None


def _complaint(file: str, error: Exception) -> str:
    path = printable(file)
    if isinstance(error, _ModeError):
        return f"data.root: must hold images of 8 or 16 bits a channel, got mode {error} in {path}"
    if isinstance(error, PermissionError):
        return f"data.root: must hold images that may be read, got {path} ({error.strerror})"
    return f"data.root: must hold images that can be read, got {path}"


def _check_mode(picture: Image.Image) -> None:
    if picture.mode not in MODES and not _is_deep_pgm(picture):
        raise _ModeError(picture.mode)


def _is_deep_pgm(picture: Image.Image) -> bool:
    return (picture.mode, picture.format) == ("I", "PPM")  # Pillow has scaled it to 16 bits


def _ends_well(kind: str | None, content: bytes) -> bool:
    if kind in ("JPEG", "MPO"):
        return _JPEG_END in content[-_END_BYTES:]
    if kind == "PNG":
        return _PNG_END in content[-_END_BYTES:]
    return False


def _as_rgb(picture: Image.Image) -> Image.Image:
    _check_mode(picture)
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode in SIXTEEN_BITS or _is_deep_pgm(picture):
        return _high_bytes(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    page = Image.new("RGBA", picture.size, BACKGROUND)
    page.alpha_composite(picture.convert("RGBA"))
    return page.convert("RGB")


def _high_bytes(picture: Image.Image) -> Image.Image:
    """Return a grey picture of 16 bits as one of 8; where its one transparent grey is, BACKGROUND."""
    pixels = np.asarray(picture)
    grey = (pixels >> 8).astype(np.uint8)
    if (transparent := picture.info.get("transparency")) is not None:
        grey[pixels == transparent] = BACKGROUND[0]
    return Image.fromarray(grey)

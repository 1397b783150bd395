"""From an image file to red, green and blue of 8 bits each: one way for images in memory and on the fly.

| mode in the file (Pillow's word) | what becomes of it |
|---|---|
| 1, L, P, RGB, YCbCr, HSV, CMYK | Pillow's conversion to RGB; grey becomes three equal channels |
| I;16 and its byte orders, I of a PGM file | the highest 8 of 16 (or 12) bits, as Pillow takes of 16-bit colour |
| the same in a TIFF file in which 0 is white | turned round, as Pillow does to those of fewer bits |
| LA, PA, La, RGBA, RGBa, transparent colours of 1, L, I;16, P, RGB | laid on BACKGROUND |
| I, F, LAB, L of a TIFF file with signed values | refused: their range is not known, or Pillow has no conversion |
| RGB of 16 bits with a transparent colour | refused: Pillow keeps half of the bits by which it is known |

A picture is turned as its EXIF orientation says. Colour profiles are not applied; of several pictures in a file the
first is taken.

What Pillow warns of, and libtiff prints, stays unsaid: such a picture is read all the same or refused by name, and
`--check-data` names it (examining.py).
"""

import ctypes
import re
import warnings
from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile, ImageOps, _imaging
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from dks_study.spec.base import in_one_line, printable
from dks_study.training.data.error import DataError

BACKGROUND = (255, 255, 255)  # white, as the page behind a picture
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
MODES = ("1", "L", "P", "RGB", "RGBX", "YCbCr", "HSV", "CMYK", "LA", "PA", "La", "RGBA", "RGBa", *SIXTEEN_BITS)
_JPEG_END, _PNG_END, _END_BYTES = b"\xff\xd9", b"IEND", 32
_RAW_BITS = re.compile(r";(\d+)")
_SIGNED = 2  # TIFF's SampleFormat

warnings.filterwarnings("ignore", module=r"PIL\.")  # once: catch_warnings is not for the threads that decode
with suppress(OSError, AttributeError):  # a Pillow without libtiff, or that hides it
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


class _ModeError(ValueError):
    """Pillow can open the picture, but not as red, green and blue of 8 bits."""


def read_picture(path: str) -> Image.Image:
    """Return the picture in a file, upright, as RGB.

    Raises:
        DataError: if it is not an image that can be read, or of a mode that is refused.
    """
    return read_with_mode(path)[0]


def read_with_mode(path: str) -> tuple[Image.Image, str]:
    """Return what `read_picture` does and the mode (Pillow's word) that the picture has in the file.

    Raises:
        DataError: as there.
    """
    try:
        with Image.open(path) as file:
            mode = file.mode
            return _as_rgb(file), mode
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
    if isinstance(error, Image.DecompressionBombError):
        return f"data.root: must hold images that are not too large for Pillow, got {path} ({in_one_line(error)})"
    if isinstance(error, OSError) and error.strerror:  # the system's word, not Pillow's
        return f"data.root: must hold images that may be read, got {path} ({error.strerror})"
    return f"data.root: must hold images that can be read, got {path}"


def _check_mode(picture: ImageFile.ImageFile) -> None:
    if picture.mode not in MODES and not _is_deep_pgm(picture):
        raise _ModeError(picture.mode)
    if picture.mode == "RGB" and "transparency" in picture.info and _bits(picture) > 8:
        raise _ModeError("RGB of 16 bits with a transparent colour")
    if isinstance(picture, TiffImageFile) and _SIGNED in picture.tag_v2.get(SAMPLEFORMAT, ()):
        raise _ModeError(f"{picture.mode} with signed values")


def _bits(picture: ImageFile.ImageFile) -> int:
    """Return the bits of a channel in a file that is not loaded yet: Pillow's raw mode has them, such as L;4."""
    raw = _RAW_BITS.search(str(picture.tile[:1]))
    return int(raw[1]) if raw else 16 if _is_deep_pgm(picture) else 8


def _is_deep_pgm(picture: Image.Image) -> bool:
    return (picture.mode, picture.format) == ("I", "PPM")  # Pillow has scaled it to 16 bits


def _ends_well(kind: str | None, content: bytes) -> bool:
    if kind in ("JPEG", "MPO"):
        return _JPEG_END in content[-_END_BYTES:]
    if kind == "PNG":
        return _PNG_END in content[-_END_BYTES:]
    return False


def _as_rgb(picture: ImageFile.ImageFile) -> Image.Image:
    _check_mode(picture)
    bits = _bits(picture)
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode in SIXTEEN_BITS or _is_deep_pgm(picture):
        return _high_bits(picture, bits).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if picture.mode == "L" and bits < 8:  # Pillow has scaled the pixels to 8 bits, and not the transparent grey
        picture.info["transparency"] *= 255 // (2**bits - 1)
    page = Image.new("RGBA", picture.size, BACKGROUND)
    page.alpha_composite(picture.convert("RGBA"))
    return page.convert("RGB")


def _high_bits(picture: Image.Image, bits: int) -> Image.Image:
    """Return a grey picture of more than 8 bits as one of 8; where its one transparent grey is, BACKGROUND."""
    pixels = np.asarray(picture)
    if isinstance(picture, TiffImageFile) and picture.tag_v2.get(PHOTOMETRIC_INTERPRETATION, 0) == 0:
        pixels = 2**bits - 1 - pixels  # white is 0, which Pillow minds of 8 bits alone
    grey = (pixels >> bits - 8).astype(np.uint8)
    if (transparent := picture.info.get("transparency")) is not None:
        grey[pixels == transparent] = BACKGROUND[0]
    return Image.fromarray(grey)

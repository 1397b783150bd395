"""What becomes of each image mode and of EXIF orientation, in memory and on the fly alike."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from odd_pictures import (
    ORIENTATION,
    SIDE,
    colours,
    cut_in_half,
    damaged_exif,
    damaged_lzw,
    sixteen_bit,
    turned,
    write_plain,
)
from PIL import Image, TiffImagePlugin
from raw_files import png, tiff

from dks_study.spec.data import DataSpec
from dks_study.training.data import DataError, evaluation_batches, load
from dks_study.training.data.decoding import BACKGROUND, complaint_about, read_picture

GREY = colours(3)[..., 0]
COLOUR = colours(4)
HALF = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
DEEP = np.random.default_rng(6).integers(0, 65536, (SIDE, SIDE)).astype(np.uint16)


def on_white(pixels, alpha):
    """What one sees of pixels [..., 3] in front of a white page."""
    return pixels * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)


def three(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2).astype(float)


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


BITS = Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8)).convert("1")
LA = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(HALF)))
RGBA = Image.fromarray(np.dstack([COLOUR, HALF]))
PALETTE = Image.fromarray(COLOUR).quantize(64)
CMYK = Image.fromarray(COLOUR).convert("CMYK")
MASKED = np.where((np.arange(SIDE * SIDE) % 3 == 0).reshape(SIDE, SIDE), 0, 255).astype(np.uint8)
MODES = {
    "1": (BITS, "png", {}, three(np.where(GREY > 127, 255, 0))),
    "L": (Image.fromarray(GREY), "png", {}, three(GREY)),
    "L.pgm": (Image.fromarray(GREY), "pgm", {}, three(GREY)),
    "L, a transparent grey": (Image.fromarray(GREY), "png", {"transparency": int(GREY[0, 0])},
                              three(np.where(GREY[0, 0] == GREY, 255, GREY))),
    "LA": (LA, "png", {}, on_white(three(GREY), HALF)),
    "P": (PALETTE, "png", {}, np.asarray(PALETTE.convert("RGB"), dtype=float)),
    "P, a transparent colour": (PALETTE, "png", {"transparency": 5},
                                np.where((np.asarray(PALETTE) == 5)[..., None], 255, PALETTE.convert("RGB"))),
    "RGB": (Image.fromarray(COLOUR), "png", {}, COLOUR.astype(float)),
    "RGB, a transparent colour": (Image.fromarray(COLOUR), "png", {"transparency": tuple(COLOUR[2, 2].tolist())},
                                  np.where((COLOUR[2, 2] == COLOUR).all(2, keepdims=True), 255.0, COLOUR)),
    "RGBA": (RGBA, "png", {}, on_white(COLOUR.astype(float), HALF)),
    "RGBA.webp": (Image.fromarray(np.dstack([COLOUR, MASKED])), "webp", {"lossless": True, "exact": True},
                  on_white(COLOUR.astype(float), MASKED)),
    "CMYK": (CMYK, "tif", {}, COLOUR.astype(float)),
    "YCbCr": (Image.fromarray(COLOUR).convert("YCbCr"), "tif", {}, COLOUR.astype(float)),
    "I;16.png": (Image.fromarray(DEEP), "png", {}, three(DEEP / 257)),
    "I;16.tif": (Image.fromarray(DEEP), "tif", {}, three(DEEP / 257)),
    "I;16B": (Image.fromarray(DEEP.astype(">u2")), "tif", {}, three(DEEP / 257)),
    "I.pgm": (Image.fromarray(DEEP.astype(np.int32)), "pgm", {}, three(DEEP / 257)),
    "I;16, a transparent grey": (Image.fromarray(DEEP), "png", {"transparency": int(DEEP[0, 0])},
                                 three(np.where(DEEP[0, 0] == DEEP, 255, DEEP / 257))),
}  # fmt: skip
ROUNDING = {"YCbCr": 3.0}  # three channels are rounded on the way there and back


@pytest.mark.parametrize("name", list(MODES))
def test_every_mode_is_right_within_rounding(tmp_path, name):
    picture, suffix, options, expected = MODES[name]
    path = saved(tmp_path / f"picture.{suffix}", picture, **options)
    with Image.open(path) as file:
        assert file.mode == name.partition(".")[0].partition(",")[0]
    pixels = np.asarray(read_picture(str(path)), dtype=float)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.abs(pixels - expected).max() <= ROUNDING.get(name, 1.0)
    assert complaint_about(str(path), path.read_bytes()) is None


def test_what_is_transparent_has_the_background_behind_it(tmp_path):
    path = saved(tmp_path / "picture.png", Image.new("RGBA", (4, 4), (10, 20, 30, 0)))
    assert set(read_picture(str(path)).get_flattened_data()) == {BACKGROUND}


@pytest.mark.parametrize(
    ("mode", "pixels"),
    [("F", np.random.default_rng(0).random((8, 8), dtype=np.float32)), ("I", np.arange(64, dtype=np.int32)[None])],
)
def test_a_mode_whose_range_is_not_known_is_refused_by_file_and_mode(tmp_path, mode, pixels):
    path = saved(tmp_path / "scan.tif", Image.fromarray(pixels))
    message = f"data.root: must hold images of 8 or 16 bits a channel, got mode {mode} in {path}"
    with pytest.raises(DataError) as caught:
        read_picture(str(path))
    assert str(caught.value) == complaint_about(str(path), path.read_bytes()) == message


def test_lab_which_pillow_cannot_convert_is_refused_by_name(tmp_path):
    path = saved(tmp_path / "scan.tiff", Image.new("LAB", (4, 4), (50, 0, 0)))
    with pytest.raises(DataError, match=f"got mode LAB in {path}"):
        read_picture(str(path))


def values_of(bits):
    """Grey values of so many bits, the lowest and the highest among them, and some twice."""
    values = np.random.default_rng(bits).integers(0, 2**bits, (SIDE, SIDE))
    values[0, :4] = 0, 1, 2**bits - 1, values[1, 0]
    return values


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("deflated", [False, True])
def test_grey_tiffs_of_all_bits_are_right_within_rounding_or_refused(tmp_path, bits, white_is_zero, endian, deflated):
    values, path = values_of(bits), tmp_path / "scan.tif"
    path.write_bytes(tiff(values, bits, white_is_zero, endian, deflated))
    complaint = complaint_about(str(path), path.read_bytes())
    if (bits, white_is_zero, endian) in ((12, True, "<"), (12, True, ">"), (12, False, ">"), (16, True, ">")):
        assert complaint == f"data.root: must hold images that can be read, got {path}", "Pillow opens none"
        return
    assert complaint is None
    level = values / (2**bits - 1)
    expected = three(255 * (1 - level if white_is_zero else level))
    assert np.abs(np.asarray(read_picture(str(path)), dtype=float) - expected).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_transparent_grey_of_any_bits_is_white(tmp_path, bits, which):
    values, path = values_of(bits), tmp_path / "drawing.png"
    transparent = values[0, which]
    path.write_bytes(png(values, bits, transparent))
    expected = three(np.where(values == transparent, 255, 255 * values / (2**bits - 1)))
    assert np.abs(np.asarray(read_picture(str(path)), dtype=float) - expected).max() <= 1


UNKNOWN = {
    "RGB of 16 bits with a transparent colour": ("png", png(DEEP[..., None].repeat(3, 2), 16, DEEP[0, :3])),
    "L with signed values": ("tif", tiff(GREY, 8, signed=True)),
}


@pytest.mark.parametrize("mode", list(UNKNOWN))
def test_values_that_pillow_reads_as_others_are_refused_by_name(tmp_path, mode):
    """A colour is known by 16 bits a channel, of which Pillow keeps 8; signed values it takes for unsigned ones."""
    suffix, content = UNKNOWN[mode]
    path = tmp_path / f"scan.{suffix}"
    path.write_bytes(content)
    message = f"data.root: must hold images of 8 or 16 bits a channel, got mode {mode} in {path}"
    with pytest.raises(DataError) as caught:
        read_picture(str(path))
    assert str(caught.value) == complaint_about(str(path), content) == message


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_pictures_are_turned_as_exif_says(tmp_path, orientation, suffix):
    """Orientation 1 to 8: what is to be done to the stored picture."""
    turns = {
        1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud,
        5: lambda p: np.swapaxes(p, 0, 1), 6: lambda p: np.rot90(p, -1),
        7: lambda p: np.swapaxes(np.rot90(p, 2), 0, 1), 8: np.rot90,
    }  # fmt: skip
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[:8, :16], stored[8:, :16], stored[:8, 16:] = 255, (0, 0, 255), (255, 0, 0)
    picture = Image.fromarray(stored)
    exif = picture.getexif()
    exif[ORIENTATION] = orientation
    options = {"tif": {"tiffinfo": orientation_tag(orientation)}, "webp": {"lossless": True, "exif": exif}}
    path = saved(tmp_path / f"photo.{suffix}", picture, **options.get(suffix, {"exif": exif}))
    pixels = np.asarray(read_picture(str(path))).astype(int)
    expected = turns[orientation](stored)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 12, "JPEG blurs the edges a little"


def orientation_tag(orientation):
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[ORIENTATION] = orientation
    return directory


def both_ways(root):
    """Load a folder in memory and on the fly."""
    spec = DataSpec(name="image_folder", root=str(root), validation_fraction=0.4)
    yield load(spec).train.images
    # 256 / 224 of 14 pixels are the 16 that the pictures have, so nothing is resized; the centre is cut out.
    data = load(spec.model_copy(update={"in_memory": False, "image_pixels": 14}))
    yield torch.cat([images for images, _ in evaluation_batches(data.train, 0, 1)])


@pytest.mark.parametrize("write", [turned, sixteen_bit])
def test_in_memory_and_on_the_fly_are_alike(tmp_path, write):
    write(tmp_path)
    in_memory, on_the_fly = both_ways(tmp_path)
    assert torch.equal(in_memory[..., 1:-1, 1:-1], on_the_fly)


def test_a_photo_that_lies_on_its_side_stands_up(tmp_path):
    upright = turned(tmp_path)
    assert np.array_equal(np.asarray(read_picture(str(tmp_path / "train/cat/000.png"))), upright)


def test_sixteen_bits_are_not_white(tmp_path):
    pixels = sixteen_bit(tmp_path)
    mean = np.asarray(read_picture(str(tmp_path / "train/dog/000.png"))).mean()
    assert mean == pytest.approx(pixels.mean() / 257, abs=0.6)
    assert 110 < mean < 145


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "pgm"])
def test_half_a_file_is_found_from_header_and_end(tmp_path, suffix):
    path = saved(tmp_path / f"half.{suffix}", Image.fromarray(GREY if suffix == "pgm" else COLOUR))
    assert complaint_about(str(path), path.read_bytes()) is None
    cut_in_half(path)
    message = f"data.root: must hold images that can be read, got {path}"
    assert complaint_about(str(path), path.read_bytes()) == message
    with pytest.raises(DataError) as caught:
        read_picture(str(path))
    assert str(caught.value) == message


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_something_behind_the_end_of_a_file_is_no_fault(tmp_path, suffix):
    path = saved(tmp_path / f"long.{suffix}", Image.fromarray(COLOUR))
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert complaint_about(str(path), path.read_bytes()) is None
    assert read_picture(str(path)).size == (SIDE, SIDE)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_what_is_no_picture_is_named(tmp_path, content):
    write_plain(tmp_path)
    path = tmp_path / "train/cat/003.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^data.root: must hold images that can be read, got {path}$"):
        read_picture(str(path))
    assert complaint_about(str(path), content)


READS = """
import sys
from dks_study.training.data.decoding import complaint_about, read_picture
for path in sys.argv[1:]:
    read_picture(path)
    assert complaint_about(path, open(path, "rb").read()) is None
"""


def test_what_pillow_and_libtiff_have_to_say_is_not_printed(tmp_path):
    damaged_exif(tmp_path / "read")
    damaged_lzw(tmp_path / "refused")
    read = tmp_path / "read/train/cat/photo.jpg", tmp_path / "read/train/cat/icon.png"
    scan = tmp_path / "refused/train/cat/scan.tif"
    done = subprocess.run([sys.executable, "-c", READS, *read, scan], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.stderr.startswith("Traceback"), "the first word is ours, after what is read and refused"
    assert done.stderr.endswith(f"data.root: must hold images that can be read, got {scan}\n")


def test_a_picture_too_large_for_pillow_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "wall.png", Image.new("1", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.raises(DataError) as caught:
        read_picture(str(path))
    rule = f"data.root: must hold images that are not too large for Pillow, got {path}"
    assert str(caught.value) == complaint_about(str(path), path.read_bytes())
    assert str(caught.value).startswith(
        f"{rule} (DecompressionBombError: Image size (1600 pixels) exceeds limit of 1400"
    )


def test_a_file_that_has_vanished_is_named_with_the_systems_word(tmp_path):
    with pytest.raises(DataError) as caught:
        read_picture(str(tmp_path / "gone.png"))
    message = f"data.root: must hold images that may be read, got {tmp_path}/gone.png (No such file or directory)"
    assert str(caught.value) == message

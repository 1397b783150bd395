"""TIFF and PNG files with as many bits a value as wanted, which Pillow reads and does not write."""

import struct
import zlib

import numpy as np

LONG = 4  # a type of TIFF


def tiff(values, bits, white_is_zero=False, endian="<", deflated=False, signed=False):
    """Return a grey TIFF file of values [rows, columns]."""
    rows = values.astype(f"{endian}u2").tobytes() if bits == 16 else _packed(values, bits)
    rows = zlib.compress(rows) if deflated else rows
    height, width = values.shape
    entries = {256: width, 257: height, 258: bits, 259: 8 if deflated else 1, 262: int(not white_is_zero)}
    entries |= {273: 0, 277: 1, 278: height, 279: len(rows), 339: 2 if signed else 1}
    entries[273] = 8 + 2 + 12 * len(entries) + 4  # where the rows begin: behind header and entries
    packed = [struct.pack(f"{endian}HHII", tag, LONG, 1, value) for tag, value in entries.items()]
    head = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(f"{endian}IH", 8, len(entries))
    return head + b"".join(packed) + struct.pack(f"{endian}I", 0) + rows


def png(values, bits, transparent):
    """Return a PNG file of values [rows, columns], or [rows, columns, 3], and of its one transparent value."""
    height, width = values.shape[:2]
    rows = _packed(values.reshape(height, -1), bits)
    filtered = b"".join(b"\0" + rows[i : i + len(rows) // height] for i in range(0, len(rows), len(rows) // height))
    head = struct.pack(">IIBBBBB", width, height, bits, 2 if values.ndim == 3 else 0, 0, 0, 0)
    chunks = {b"IHDR": head, b"tRNS": np.array(transparent, dtype=">u2").tobytes(), b"IDAT": zlib.compress(filtered)}
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in (*chunks.items(), (b"IEND", b"")))


def _packed(values, bits):
    """Values of a row one behind the other, the highest bit first; each row ends with a whole byte."""
    each_bit = (values[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(each_bit.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

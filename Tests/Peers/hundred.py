"""A page of a hundred objects: 20 style sheets, 20 scripts and 60 images, from some bytes to some hundred thousand."""

import random
import struct
import zlib
from pathlib import Path


def color(number):
    return (number * 4, 255 - number * 4, number * 37 % 256)


def png(rgb, size, padding):
    """A square of one colour, and a chunk that no one reads to make the file larger."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(rgb) * size) * size
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
        + chunk(b"paDd", padding)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_page(directory: Path):
    """Writes the page into `directory`; returns each file's bytes by its name."""
    noise = random.Random(1)
    files = {}
    head = []
    images = []
    for n in range(20):
        files[f"style{n}.css"] = f"#image{n} {{ border: 1px solid rgb({n * 10},0,0) }}\n/*{'x' * n * 977}*/\n".encode()
        head.append(f'<link rel="stylesheet" href="style{n}.css">')
    for n in range(20):
        files[f"script{n}.js"] = f"window.scripts = (window.scripts || 0) + 1\n//{'y' * n * 1531}\n".encode()
        head.append(f'<script src="script{n}.js" defer></script>')
    for n in range(60):
        files[f"image{n}.png"] = png(color(n), 32, noise.randbytes(n * 2003))
        images.append(f'<img id="image{n}" src="image{n}.png" width="32" height="32" alt="">')
    files["index.html"] = "\n".join(
        ['<!doctype html><html lang="en"><meta charset="utf-8"><title>A hundred objects</title>', *head]
        + ["<h1>A hundred objects</h1>", *images, "</html>\n"]
    ).encode()
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return files

"""A folder a class, with PNG, JPEG or other images that Pillow reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p3vc.errors import BadInputError
from p3vc.formats import Batch, Piece, Shape, Source, bounded, regular

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")


class Folder(Source):
    """``class/name.png``: labels number the class folders in order of name. Grey is one channel, colour three."""

    kind = "folder"

    def __init__(self, path: Path, shape: Shape | None) -> None:
        if not path.is_dir():
            raise BadInputError(f"--data {path}: is no folder; an image dataset is a folder with a folder a class")
        self.classes = sorted(
            child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")
        )
        entries = [
            (file, label)
            for label, name in enumerate(self.classes)
            for file in sorted((path / name).iterdir())
            if file.suffix.lower() in SUFFIXES
        ]
        if not entries:
            raise BadInputError(
                f"--data {path}: no images in its {len(self.classes)} class folders ({', '.join(SUFFIXES)})"
            )
        self.files = tuple(file for file, _ in entries)
        self._labels = np.array([label for _, label in entries], np.int64)
        self.records = len(entries)
        if shape is not None:
            bounded(shape, f"--shape {'x'.join(map(str, shape))}")
        first = shape or _load(self.files[0]).shape
        self.shape = (first[0], first[1], first[2])

    def pieces(self, size: int) -> Iterator[Piece]:
        """Yield names of images, in order of class and name."""
        for start in range(0, self.records, size):
            yield _Named(self.files[start : start + size], self._labels[start : start + size], self.shape)


@dataclass(frozen=True)
class _Named:
    """Images to decode."""

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    shape: Shape

    def load(self) -> Batch:
        images = np.zeros((len(self.files), *self.shape), np.uint8)
        malformed = np.zeros(len(self.files), np.bool_)
        for i, file in enumerate(self.files):
            image = _load(file)
            if image.shape == self.shape:
                images[i] = image
            else:
                malformed[i] = True
        return Batch(images, self.labels, malformed)


def _load(file: Path) -> NDArray[np.uint8]:
    from PIL import Image  # noqa: PLC0415 - only folders need it

    regular(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                _usable(image)
                grey = image.mode in ("1", "L", "LA")
                bounded((1 if grey else 3, image.height, image.width), str(file))
                pixels = np.asarray(image.convert("L" if grey else "RGB"), np.uint8)
    except (MemoryError, BadInputError):
        raise
    except Exception as error:  # Pillow's readers may raise anything on damaged bytes
        raise BadInputError(f"{file}: cannot be decoded ({error}); replace or remove it") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _usable(image: Picture) -> None:
    """Raise where conversion to 8 bits a channel would silently leave most of an image out."""
    # A camera's MPO is a JPEG that has previews and depth after it: its first picture is the image.
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise ValueError(f"it holds {frames} images; save the one to release as a file of its own")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"it has more than 8 bits a pixel, mode {image.mode}; save it with 8 bits, grey or RGB")

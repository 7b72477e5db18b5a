"""PNG, JPEG, TIFF and PGM pictures as (C, H, W) arrays, with the bit depth that the file has."""

import io
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from medimg.errors import DataError
from medimg.io.files import atomic_write

# A picture of more pixels is refused before memory is taken for it; a whole slide belongs cut into tiles.
MAX_PIXELS = 1 << 27
_FORMATS = ("PNG", "JPEG", "TIFF", "PPM", "BMP")
_PGM = re.compile(rb"P5(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_PGM_HEADER = 4096  # comments included
_ORIENTATION, _ON_ITS_SIDE = 0x0112, 5  # EXIF: from 5 on, rows and columns are exchanged
_TIFF_SIZE = (256, 257)  # tags of width and height
_EXACT = 1 << 24  # above it float32 skips integers


def read_raster(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
    """Read a picture upright, as EXIF says it stands, with its values as stored.

    Palettes become RGB, CMYK becomes RGB, one-bit pictures become 0 and 255. Where a picture has opacity, it
    is laid over white and the opacity dropped. Of a TIFF with several pages, the first is read.

    Args:
        path: PNG, JPEG, TIFF, PGM, PPM or BMP; the content decides, not the name.

    Returns:
        Shape (1, H, W) for grey and (3, H, W) for RGB. uint8 for files of up to 8 bits, uint16 for 9 to 16
        bits, float32 for TIFFs of 32-bit integers or floats.

    Raises:
        DataError: If the file is missing, truncated, damaged, of another kind, or holds more than 2^27 pixels.
    """
    path = Path(path)
    content = _content(path)
    if found := _PGM.match(content[:_PGM_HEADER]):
        return _read_pgm(path, content, found)
    with warnings.catch_warnings():
        # The limit here stands in for Pillow's, which only warns below twice its own.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                _check_size(path, *image.size)
                if _is_deep_colour(image, content):
                    return _read_deep_colour(path, content)
                return _to_array(path, ImageOps.exif_transpose(image))
        except DataError:
            raise
        except UnidentifiedImageError as error:
            raise DataError(
                f"{path}: neither PNG, JPEG, TIFF, PGM nor BMP, or its header is damaged. Check the file."
            ) from error
        except Image.DecompressionBombError as error:
            raise _too_large(path, str(error)) from error
        except Exception as error:
            # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error and more on damaged files.
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"{path}: truncated or damaged ({reason}). Copy or download it again.") from error


def raster_shape(path: Path) -> tuple[int, int]:
    """Height and width of a picture as :func:`read_raster` gives it, from its header alone.

    Raises:
        DataError: If the file is missing, or of another kind.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
                if isinstance(image, TiffImageFile):
                    # Its size is that of the upright picture in some releases of Pillow, and not in others.
                    width, height = (int(image.tag_v2[tag]) for tag in _TIFF_SIZE)
                # A PNG's own method decodes it, to find EXIF that stands behind the pixels.
                turned = Image.Image.getexif(image).get(_ORIENTATION, 1) >= _ON_ITS_SIDE
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file. Check the path and the download.") from None
        except Exception as error:
            # As above: each of Pillow's readers raises what it likes.
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(
                f"{path}: no size can be read ({reason}). Check the file, and copy or download it again."
            ) from error
    return (width, height) if turned else (height, width)


def write_png(path: Path, array: NDArray[np.generic]) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        path: File to write; its folder is made.
        array: uint8 or uint16, shape (H, W), (1, H, W) or (3, H, W).

    Raises:
        DataError: If the type or the shape is another.
        ResourceError: If the file cannot be written.
    """
    array = np.asarray(array)
    picture = array[None] if array.ndim == 2 else array
    if array.dtype not in (np.uint8, np.uint16) or picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise DataError(
            f"{path}: a PNG holds uint8 or uint16 of shape (H, W), (1, H, W) or (3, H, W), found {array.dtype} "
            f"of shape {array.shape}. Scale and convert it first."
        )
    if 0 in picture.shape:
        raise DataError(f"{path}: an empty picture of shape {array.shape} cannot be written.")
    with atomic_write(Path(path), durable=False) as temporary:
        if picture.shape[0] == 3 and array.dtype == np.uint16:
            temporary.write_bytes(_encode_deep_colour(picture))
        else:
            pixels = picture[0] if picture.shape[0] == 1 else np.moveaxis(picture, 0, -1)
            Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file. Check the path and the download.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}).") from error
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes). Copy or download it again.")
    return content


def _check_size(path: Path, columns: int, rows: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise _too_large(path, f"{rows:,} x {columns:,} pixels")


def _too_large(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: too large ({found}; the limit is {MAX_PIXELS:,} pixels). A bomb, a damaged header, or a "
        "slide to be cut into tiles first."
    )


def _to_array(path: Path, image: Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
    """Convert a loaded picture by its mode."""
    match image.mode:
        case "L" | "RGB":
            return _channels_first(np.asarray(image))
        case "1":
            return _channels_first(np.asarray(image.convert("L")))
        case "I;16" | "I;16B" | "I;16L" | "I;16N":
            return np.asarray(image).astype(np.uint16)[None]
        case "I" if image.format in ("PNG", "PPM"):
            return np.asarray(image).astype(np.uint16)[None]
        case "I":
            values = np.asarray(image)
            if np.abs(values.astype(np.int64)).max() > _EXACT:
                raise DataError(
                    f"{path}: integers beyond 2^24 lose digits as float32. Save the picture with 16 bits."
                )
            return values.astype(np.float32)[None]
        case "F":
            return np.asarray(image).astype(np.float32)[None]
        case "LA" | "La" | "RGBA" | "RGBa" | "PA" | "P":
            return _channels_first(np.asarray(_over_white(image)))
        case _:
            return _channels_first(np.asarray(image.convert("RGB")))


def _over_white(image: Image.Image) -> Image.Image:
    grey = image.mode in ("LA", "La")
    if image.mode == "P" and "transparency" not in image.info:
        return image.convert("RGB")
    opaque = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, opaque).convert("L" if grey else "RGB")


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) to (C, H, W)."""
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0))


def _is_deep_colour(image: Image.Image, content: bytes) -> bool:
    """Whether the file holds colours of 16 bits, of which Pillow would keep eight."""
    if image.format == "PNG":
        return content[24] == 16 and content[25] in (2, 4, 6)
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, ())  # BitsPerSample
        return len(bits) > 1 and max(bits) == 16
    return False


def _read_deep_colour(path: Path, content: bytes) -> NDArray[np.uint16]:
    # Comes with albumentations. Loaded here, because no other kind of picture needs it.
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise DataError(f"{path}: truncated or damaged. Copy or download it again.")
    picture = np.moveaxis(pixels, -1, 0)  # (C, H, W), blue first
    if len(picture) == 4:
        share = picture[3:].astype(np.float64) / 65535
        picture = np.rint(picture[:3] * share + 65535 * (1 - share)).astype(np.uint16)
    picture = picture[::-1]
    # A grey picture with opacity comes back as colours.
    if content[:8] == b"\x89PNG\r\n\x1a\n" and content[25] == 4:
        picture = picture[:1]
    return np.ascontiguousarray(picture)


def _encode_deep_colour(picture: NDArray[np.generic]) -> bytes:
    import cv2

    pixels = np.ascontiguousarray(np.moveaxis(picture[::-1], 0, -1))  # blue first
    _, encoded = cv2.imencode(".png", pixels)
    return bytes(encoded.tobytes())


def _read_pgm(path: Path, content: bytes, header: re.Match[bytes]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a binary PGM with its values as they are; Pillow would spread them over the whole range."""
    columns, rows, top = (int(number) for number in header.groups())
    if not (rows and columns and 1 <= top <= 65535):
        raise DataError(f"{path}: the header is damaged ({columns} x {rows}, maximum {top}). Get it again.")
    _check_size(path, columns, rows)
    dtype = np.dtype(">u2" if top > 255 else "u1")  # PGM is big endian
    needed = rows * columns * dtype.itemsize
    found = len(content) - header.end()
    if found < needed:
        raise DataError(
            f"{path}: truncated: {rows} x {columns} pixels need {needed:,} bytes, found {found:,}. Copy it again."
        )
    values = np.frombuffer(content, dtype, rows * columns, header.end()).reshape(1, rows, columns)
    return values.astype(np.uint16) if top > 255 else values.astype(np.uint8)

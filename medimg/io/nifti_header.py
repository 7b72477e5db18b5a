"""What a NIfTI header says, checked before any voxel is read."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.grid import Grid
from medimg.io.gzip_guard import GuardedReader

logger = logging.getLogger(__name__)

Form = Literal["agree", "sform", "qform"]

# Two forms that place every corner this close are one: single precision costs no more.
FORM_TOLERANCE_MM = 0.05
_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_REFUSED_DTYPES = {1: "1-bit", 32: "complex", 128: "RGB", 1536: "128-bit", 1792: "complex", 2304: "RGBA"}
_TO_MM = {1: 1000.0, 3: 0.001}  # NIfTI unit codes for metre and micrometre
# No patient is larger, in any unit; squares of larger numbers would overflow.
_LARGEST = 1e9
_MAX_EXTENSIONS = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """The checked header of a file.

    Attributes:
        grid: Shape and place of one channel.
        channels: Number of volumes along the last axis of the file, 1 for a 3D file.
        dtype: Type of a stored voxel, byte order included.
        offset: Bytes before the first voxel.
        slope: Factor on stored values; 1 with ``intercept`` 0 leaves them as they are.
        intercept: Added after the factor.
        fields: The header as nibabel reads it.
    """

    grid: Grid
    channels: int
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    fields: Any

    @property
    def samples(self) -> int:
        """Stored values in all channels."""
        depth, height, width = self.grid.shape
        return self.channels * depth * height * width

    @property
    def scaled(self) -> bool:
        """Whether stored values differ from the values meant."""
        return self.slope != 1.0 or self.intercept != 0.0


def parse_header(reader: GuardedReader, form: Form) -> tuple[Header, int]:
    """Read and check the header at the start of a file.

    Args:
        reader: An open file, nothing read from it yet.
        form: Which of two affines to take where they disagree.

    Returns:
        The header and the number of bytes read.

    Raises:
        DataError: If the file is no single-file NIfTI or its header cannot be used as it stands.
    """
    path = reader.path
    block = reader.read(348)
    order, size = _byte_order(path, block)
    if size == 540:
        block += reader.read(540 - 348)
    kind: Any = Nifti2Header if size == 540 else Nifti1Header
    fields = kind(block, endianness=order, check=False)
    magic = bytes(fields["magic"].tobytes()[:3])
    if magic not in {b"n+1", b"n+2"}:
        raise DataError(
            f"{path}: expected a single-file NIfTI (magic n+1 or n+2), found {magic!r}: a header whose "
            "voxels lie in another file (.hdr/.img). Convert the pair to one .nii.gz, e.g. with nibabel.save."
        )
    channels, shape = _shape(path, fields)
    slope, intercept = _scaling(path, fields)
    affine, oriented = _affine(path, fields, shape, form)
    header = Header(
        grid=Grid(shape, affine, oriented),
        channels=channels,
        dtype=_dtype(path, fields, order),
        offset=_offset(path, fields, size),
        slope=slope,
        intercept=intercept,
        fields=fields,
    )
    return header, size


def _byte_order(path: Path, block: bytes) -> tuple[str, int]:
    for order, name in (("<", "little"), (">", "big")):
        size = int.from_bytes(block[:4], name)  # type: ignore[arg-type]
        if size in (348, 540):
            return order, size
    raise DataError(
        f"{path}: expected a NIfTI header (348 or 540 bytes), found {block[:4].hex()} at the start. "
        "The file is not NIfTI, or is damaged; get it again."
    )


def _shape(path: Path, fields: Any) -> tuple[int, tuple[int, int, int]]:
    dim = [int(value) for value in fields["dim"]]
    if not 2 <= dim[0] <= 7 or any(size < 1 for size in dim[1 : dim[0] + 1]):
        raise DataError(
            f"{path}: the header's dimensions {dim} are not a volume: expected 2 to 7 axes of at least 1. "
            "The header is damaged; get the file again."
        )
    sizes = dim[1 : dim[0] + 1] + [1] * (7 - dim[0])
    extra = [size for size in sizes[3:] if size > 1]
    if len(extra) > 1:
        raise DataError(
            f"{path}: expected at most one axis after the three of space (channels), found "
            f"sizes {dim[1 : dim[0] + 1]}. Save each point in time as its own file."
        )
    width, height, depth = sizes[:3]
    return (extra[0] if extra else 1), (depth, height, width)


def _dtype(path: Path, fields: Any, order: str) -> np.dtype[np.generic]:
    code = int(fields["datatype"])
    if code not in _DTYPES:
        found = _REFUSED_DTYPES.get(code, "unknown")
        raise DataError(
            f"{path}: voxels of {found} type (NIfTI datatype {code}) are not grey values. "
            "Save the volume as integers or floats, one channel along the fourth axis for each colour."
        )
    return np.dtype(order + _DTYPES[code])


def _offset(path: Path, fields: Any, size: int) -> int:
    offset = float(fields["vox_offset"])
    if offset == 0:  # some writers leave it out
        return size + 4
    if not size <= offset <= _MAX_EXTENSIONS:
        raise DataError(
            f"{path}: the header puts the voxels at byte {offset:g}, expected at least {size + 4}. "
            "The header is damaged; get the file again."
        )
    return int(offset)


def _scaling(path: Path, fields: Any) -> tuple[float, float]:
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or np.isnan(slope):  # both mean that nothing is scaled
        return 1.0, 0.0
    if np.isnan(intercept):
        intercept = 0.0
    if np.isinf(slope) or np.isinf(intercept):
        raise DataError(
            f"{path}: the header scales voxels by {slope} and adds {intercept}, which no value survives. "
            "Mend scl_slope and scl_inter, or get the file again."
        )
    return slope, intercept


def _affine(
    path: Path, fields: Any, shape: tuple[int, int, int], form: Form
) -> tuple[NDArray[np.float64], bool]:
    """Return the affine in millimetres and whether the file states an orientation at all."""
    spacing = [float(value) for value in fields["pixdim"][1:4]]
    if not all(0 < value < _LARGEST for value in spacing):
        raise DataError(
            f"{path}: the spacing {spacing} along the file's axes must be positive and finite. "
            "Mend pixdim in the header from the scanner's data, or leave the case out."
        )
    scale = _TO_MM.get(int(fields["xyzt_units"]) & 7, 1.0)
    use_s = int(fields["sform_code"]) > 0 and (form != "qform" or int(fields["qform_code"]) <= 0)
    use_q = int(fields["qform_code"]) > 0 and (form != "sform" or int(fields["sform_code"]) <= 0)
    if not (use_s or use_q):
        logger.warning("%s: neither sform nor qform is set, so left and right are a guess.", path)
        return _to_mm(np.asarray(fields.get_base_affine(), np.float64), scale), False
    found = [
        _to_mm(_checked(path, name, fields), scale)
        for name, use in (("sform", use_s), ("qform", use_q))
        if use
    ]
    if len(found) == 2:
        apart = Grid(shape, found[0]).corner_distance_mm(Grid(shape, found[1]))
        if apart > FORM_TOLERANCE_MM:
            raise DataError(
                f"{path}: sform and qform put a corner of the volume {apart:.2f} mm apart "
                f"(at most {FORM_TOLERANCE_MM} mm is accepted). Look which of the two fits the anatomy and "
                "declare it with form: sform or form: qform, or mend the header."
            )
    return found[0], True


def _checked(path: Path, name: str, fields: Any) -> NDArray[np.float64]:
    try:
        affine = np.asarray(fields.get_sform() if name == "sform" else fields.get_qform(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise DataError(
            f"{path}: the {name} is no rotation ({error}). Mend the header, or get the file again."
        ) from error
    if not (np.abs(affine) < _LARGEST).all():  # false for NaN too
        raise DataError(
            f"{path}: the affine ({name}) holds NaN, infinite or absurdly large values. "
            "Mend the header, or get the file again."
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # Three unit directions that span next to no volume are two directions.
    if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise DataError(
            f"{path}: the affine ({name}) gives a spacing of zero or two parallel axes: "
            f"{affine[:3, :3].tolist()}. Mend the header, or get the file again."
        )
    return affine


def _to_mm(affine: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    scaled = affine.copy()
    scaled[:3] *= scale
    return scaled

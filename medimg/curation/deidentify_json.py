"""Sidecar JSON of volumes: numbers of the acquisition stay, under names that are known; all text that is not goes."""

import json
from typing import Any

from medimg.curation.deidentify_keep import WORDS
from medimg.curation.deidentify_streams import Refused

_NAMES = """
EchoTime EchoTime1 EchoTime2 RepetitionTime InversionTime FlipAngle MagneticFieldStrength ImagingFrequency
SliceThickness SpacingBetweenSlices SliceTiming SliceEncodingDirection PhaseEncodingDirection TotalReadoutTime
EffectiveEchoSpacing DwellTime PixelBandwidth EchoTrainLength NumberOfAverages PartialFourier
ParallelReductionFactorInPlane MultibandAccelerationFactor AcquisitionMatrixPE ReconMatrixPE PercentPhaseFOV
PercentSampling BaseResolution MRAcquisitionType ScanningSequence SequenceVariant ScanOptions Modality
BodyPartExamined ImageType ImageOrientationPatientDICOM ImageOrientationText KVP XRayTubeCurrent Exposure
ExposureTime RescaleSlope RescaleIntercept PhilipsRescaleSlope PhilipsRescaleIntercept SeriesNumber
AcquisitionNumber WindowCenter WindowWidth PatientPosition DelayTime VolumeTiming
"""
_KEYS = frozenset(_NAMES.split())
_SHORT_WORDS = WORDS | {"i", "j", "k", "i-", "j-", "k-"}
_LARGEST = 1 << 26


def clean_json(content: bytes) -> tuple[bytes, int]:
    r"""Return a sidecar with what may stay, and how many entries went.

    Args:
        content: UTF-8 text of a JSON object.

    Raises:
        Refused: If it is no JSON object, or larger than 64 MiB.

    Example:
        >>> clean_json(b'{"EchoTime": 0.03, "PatientName": "Doe", "ImageType": ["ORIGINAL", "Doe"]}')
        (b'{"EchoTime": 0.03}\n', 2)
    """
    if len(content) > _LARGEST:
        raise Refused("a JSON file of more than 64 MiB is no sidecar. Leave it out.")
    try:
        entries = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Refused("the JSON is damaged, or not in UTF-8. Mend it, or leave it out.") from None
    if not isinstance(entries, dict):
        raise Refused("expected a JSON object, as sidecars are.")
    kept = {name: value for name, value in entries.items() if name in _KEYS and _may_stay(value)}
    return json.dumps(kept).encode() + b"\n", len(entries) - len(kept)


def _may_stay(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(one, list) and _may_stay(one) for one in value)
    return isinstance(value, int | float) or (isinstance(value, str) and value in _SHORT_WORDS)


def text_of(content: bytes) -> list[str]:
    """Return every string in a JSON file, keys included, for the search after the work."""
    found: list[str] = []
    try:
        open_ends: list[Any] = [json.loads(content.decode("utf-8-sig"))]
    except (ValueError, RecursionError):
        return found
    while open_ends:
        match open_ends.pop():
            case dict() as entries:
                open_ends += [value for name, value in entries.items()]
                found += [name for name in entries if name not in _KEYS]
            case list() as values:
                open_ends += values
            case str() as text if text not in _SHORT_WORDS:
                found.append(text)
    return found

"""A Decathlon task of fake cases."""

import json
from pathlib import Path

from writers.nifti import OBLIQUE, make_case, write_volume


def write_decathlon(
    root: Path,
    cases: int | list[str] = 3,
    *,
    tests: int = 1,
    channels: tuple[str, ...] = ("MRI",),
    labels: tuple[str, ...] = ("anterior", "posterior"),
    shape: tuple[int, int, int] = (16, 16, 16),
) -> Path:
    """Write ``dataset.json``, images and masks below ``root`` and return it."""
    names = [f"fake_{number:03d}" for number in range(cases)] if isinstance(cases, int) else cases
    values = tuple(range(1, len(labels) + 1))
    test_names = [f"fake_{900 + number}" for number in range(tests)]
    for seed, name in enumerate([*names, *test_names]):
        image, mask = make_case(shape, len(channels), values, seed)
        folder = "imagesTs" if name in test_names else "imagesTr"
        write_volume(root / folder / f"{name}.nii.gz", image if len(channels) > 1 else image[0], OBLIQUE)
        if name in names:
            write_volume(root / "labelsTr" / f"{name}.nii.gz", mask, OBLIQUE)
    content = {
        "name": "Fake",
        "modality": {str(number): name for number, name in enumerate(channels)},
        "labels": {
            "0": "background",
            **{str(value): name for value, name in zip(values, labels, strict=True)},
        },
        "numTraining": len(names),
        "numTest": tests,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
        ],
        "test": [f"./imagesTs/{name}.nii.gz" for name in test_names],
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root

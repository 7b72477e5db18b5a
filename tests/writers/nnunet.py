"""An nnU-Net raw data set of fake cases."""

import json
from pathlib import Path

from writers.nifti import OBLIQUE, make_case, write_volume


def write_nnunet(
    root: Path,
    cases: int = 3,
    *,
    tests: int = 0,
    channels: tuple[str, ...] = ("CT",),
    labels: dict[str, int | list[int]] | None = None,
    version: int = 2,
    shape: tuple[int, int, int] = (16, 16, 16),
    more: dict[str, object] | None = None,
) -> Path:
    """Write ``dataset.json``, images and masks below ``root`` and return it; ``more`` joins the JSON."""
    labels = labels or {"background": 0, "liver": 1, "tumour": 2}
    names = [f"case_{number:03d}" for number in range(cases)]
    test_names = [f"case_{900 + number}" for number in range(tests)]
    values = tuple(
        sorted({v for one in labels.values() for v in (one if isinstance(one, list) else [one]) if v})
    )
    for seed, name in enumerate([*names, *test_names]):
        image, mask = make_case(shape, len(channels), values, seed)
        folder = "imagesTs" if name in test_names else "imagesTr"
        for number in range(len(channels)):
            write_volume(root / folder / f"{name}_{number:04d}.nii.gz", image[number], OBLIQUE)
        if name in names:
            write_volume(root / "labelsTr" / f"{name}.nii.gz", mask, OBLIQUE)
    numbered = {str(number): name for number, name in enumerate(channels)}
    if version == 2:
        content: dict[str, object] = {"channel_names": numbered, "labels": labels, "file_ending": ".nii.gz"}
    else:
        content = {
            "modality": numbered,
            "labels": {str(value): name for name, value in labels.items()},
            "training": [
                {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
            ],
            "test": [f"./imagesTs/{name}.nii.gz" for name in test_names],
        }
    (root / "dataset.json").write_text(json.dumps({**content, "numTraining": cases, **(more or {})}))
    return root

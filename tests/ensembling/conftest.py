"""Cases with references, on which weights of volumes are searched."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medimg.ensembling.averages import labels_of
from medimg.ensembling.description import ChannelScheme
from medimg.ensembling.volume_sample import LabelledCase
from medimg.ensembling.volumes import CaseFiles, VolumeSettings
from medimg.io.nifti import read_mask, write_image
from medimg.scoring.overlap import dice

SHAPE = (6, 8, 9)
SOFTMAX = ChannelScheme("softmax", (0, 1, 4))
SIGMOID = ChannelScheme("sigmoid", (2, 1), (0, 1))
ABOUT = {"softmax": (SOFTMAX, {"a": (1,), "b": (4,)}), "sigmoid": (SIGMOID, {"WT": (1, 2), "TC": (1,)})}


def make_cases(folder: Path, head: str, noise, cases: int = 4) -> list[LabelledCase]:
    """Cases whose members know the truth, each with so much noise."""
    scheme, _ = ABOUT[head]
    made = []
    for number in range(cases):
        rng = np.random.default_rng(number)
        case = f"c{number}"
        channels = len(scheme.values)
        logits = 2 * rng.normal(size=(channels, *SHAPE))
        for member, amount in enumerate(noise):
            seen = logits + amount * rng.normal(size=logits.shape)
            probs = 1 / (1 + np.exp(-seen)) if head == "sigmoid" else np.exp(seen) / np.exp(seen).sum(0)
            probs = probs.astype(np.float32)  # float16 has ties, which rounding would decide
            here = folder / f"m{member}"
            write_image(here / f"{case}.nii.gz", labels_of(probs, scheme), np.eye(4))
            np.savez(here / f"{case}.npz", probs=probs)
        truth = labels_of(1 / (1 + np.exp(-logits)), scheme)
        write_image(folder / "ref" / f"{case}.nii.gz", truth, np.eye(4))
        paths = ([folder / f"m{m}" / f"{case}.{end}" for m in range(len(noise))] for end in ("nii.gz", "npz"))
        files = CaseFiles(case, *(tuple(each) for each in paths))
        made.append(LabelledCase(files, folder / "ref" / f"{case}.nii.gz", f"p{number}"))
    return made


def settings(head: str, method: str) -> VolumeSettings:
    return VolumeSettings(method, (), Path(), ABOUT[head][0])


def full_dice(cases, head, method, weights) -> list[float]:
    """Mean Dice of each case over all voxels, with one set of weights for each case."""
    scheme, classes = ABOUT[head]
    scores = []
    for case, of_case in zip(cases, weights, strict=True):
        members = np.array([np.load(path)["probs"] for path in case.files.probs], np.float64)
        if method == "geometric":
            members = np.log(members)
        mean = np.average(members, axis=0, weights=of_case)
        mean = np.exp(mean) if method == "geometric" else mean
        pred, truth = labels_of(mean, scheme), read_mask(case.reference)
        each = [dice(np.isin(pred, v), np.isin(truth, v), empty="brats") for v in classes.values()]
        scores.append(float(np.mean(each)))
    return scores


@pytest.fixture
def labelled():
    """Makers of such cases, and the Dice of any weights computed from all of their voxels."""
    return SimpleNamespace(
        shape=SHAPE, about=ABOUT, make_cases=make_cases, settings=settings, full_dice=full_dice
    )

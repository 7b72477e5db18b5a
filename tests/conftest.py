"""Writers of fake studies, handed to every test as fixtures."""

import sys
from pathlib import Path

import pytest

# Test folders are no packages, so the writers are found by their folder; last, to hide nothing.
sys.path.append(str(Path(__file__).parent))

from writers import brats, decathlon, nifti, nnunet


@pytest.fixture(scope="session")
def write_volume():
    """``write_volume(path, array, affine=..., ...)``: NIfTI from (D, H, W) or (C, D, H, W)."""
    return nifti.write_volume


@pytest.fixture(scope="session")
def make_case():
    """``make_case(shape, channels, seed)``: an image and a mask in which brightness tells the label."""
    return nifti.make_case


@pytest.fixture(scope="session")
def write_decathlon():
    """``write_decathlon(root, cases=..., channels=..., labels=...)``: a Decathlon task."""
    return decathlon.write_decathlon


@pytest.fixture(scope="session")
def write_nnunet():
    """``write_nnunet(root, cases=..., ...)``: an nnU-Net raw data set; returns its folder."""
    return nnunet.write_nnunet


@pytest.fixture(scope="session")
def write_brats():
    """``write_brats(root, cases=..., year=...)``: a BraTS folder; returns it."""
    return brats.write_brats

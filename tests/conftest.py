"""Writers of fake studies, handed to every test as fixtures."""

import sys
from pathlib import Path

import pytest

# Test folders are no packages, so the writers are found by their folder; last, to hide nothing.
sys.path.append(str(Path(__file__).parent))

from writers import brats, decathlon, images, nifti, nnunet


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


@pytest.fixture(scope="session")
def make_picture():
    """``make_picture(seed, shape)``: a smooth random picture, uint8 (H, W)."""
    return images.make_picture


@pytest.fixture(scope="session")
def write_picture():
    """``write_picture(path, pixels=..., seed=...)``: a picture file; returns its path."""
    return images.write_picture


@pytest.fixture(scope="session")
def write_table():
    """``write_table(path, header, rows)``: a CSV, packed as the name says; returns its path."""
    return images.write_table


@pytest.fixture(scope="session")
def write_class_folders():
    """``write_class_folders(root, {"benign": 3}, prefix=...)``: PNGs in a folder a class; returns the root."""
    return images.write_class_folders

"""Cases as a run's own data module reads them: what the network sees, its mask, and the way back to the file."""

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from writers.decathlon import write_decathlon
from writers.images import write_class_folders, write_picture
from writers.nifti import OBLIQUE

from medimg.commands.explain_cases import CaseInput, Cases
from medimg.commands.trust import set_policy
from medimg.errors import ConfigError, DataError

CONF = Path(__file__).parents[1] / "conf"
CPU = torch.device("cpu")


def open_cases(name, root, change=None, *, only=None, limit=0):
    settings = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    if change is not None:
        change(settings["data"])
    set_policy([])
    return Cases(SimpleNamespace(settings=settings, task=None), root, only=only, limit=limit)


def picture_with_lesion(path, left):
    """A dark picture with a bright square, and its mask beside it."""
    pixels = np.full((40, 60), 30, np.uint8)
    mask = np.zeros_like(pixels)
    pixels[8:24, left : left + 16], mask[8:24, left : left + 16] = 220, 255
    write_picture(path, pixels)
    write_picture(path.with_name(f"{path.stem}_mask.png"), mask)


def test_a_mask_lies_on_the_pixels_that_the_network_sees(tmp_path):
    for number, left in enumerate((4, 40)):
        picture_with_lesion(tmp_path / "malignant" / f"malignant ({number + 1}).png", left)
    write_class_folders(tmp_path, {"benign": 2})
    cases = {case.case_id: case for case in open_cases("classification", tmp_path).read(CPU)}
    assert len(cases) == 4
    case = cases["malignant/malignant (1).png"]
    assert case.image.shape == (1, 1, 32, 32) and case.sizes is None and case.to_source is None
    inside, image = case.reference("malignant"), case.image[0, 0].numpy()
    assert 50 < inside.sum() < 200
    assert image[inside].mean() - image[~inside].mean() > 1  # of a range of 2
    assert (image[inside] > image[~inside].max() - 0.3).mean() > 0.7
    assert cases["benign/benign (1).png"].reference("malignant") is None


def test_plain_pictures_need_neither_labels_nor_masks(tmp_path):
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", seed=number)
    cases = open_cases("classification", tmp_path, limit=2)
    assert (len(cases), cases.left_out) == (2, 1)
    assert [case.mask for case in cases.read(CPU)] == [None, None]
    chosen = open_cases("classification", tmp_path, only=["2.png"])
    assert [case.case_id for case in chosen.read(CPU)] == ["2.png"]


def test_a_volumes_mask_and_the_way_back_to_its_file(tmp_path):
    root = write_decathlon(tmp_path / "Task99_Fake", 1, shape=(18, 20, 22))
    (case,) = open_cases("softmax", root, only=["fake_000"]).read(CPU)
    assert set(case.values) == {"anterior", "posterior"} and case.image.shape[2:] == case.mask.shape
    core, image = case.reference("posterior"), case.image[0, 0].numpy()
    assert core.any() and image[core].mean() > image[~core].mean() + 1
    back, grid = case.to_source(core.astype(np.float32))
    assert back.shape == grid.shape == (18, 20, 22) and np.allclose(grid.affine, OBLIQUE, atol=1e-4)
    truth = np.asarray(nib.load(root / "labelsTr" / "fake_000.nii.gz").dataobj).transpose(2, 1, 0) == 2
    assert 2 * ((back > 0.5) & truth).sum() / ((back > 0.5).sum() + truth.sum()) > 0.85
    assert case.turned and case.spacing_mm == (2.0, 1.0, 1.0)


def test_a_region_is_its_own_label_values_and_a_label_is_any_mask():
    mask = np.array([[0, 1], [2, 255]])
    case = CaseInput("a", torch.zeros(1, 1, 2, 2), mask=mask, values={"core": (2,)})
    assert case.reference("core").tolist() == [[False, False], [True, False]]
    assert case.reference("malignant").tolist() == [[False, True], [True, False]]


def test_refusals(tmp_path):
    write_class_folders(tmp_path / "data", {"benign": 1, "malignant": 1})
    with pytest.raises(
        ConfigError, match=r"--case benign/benign: not below .*nearest are benign/benign \(1\)"
    ):
        open_cases("classification", tmp_path / "data", only=["benign/benign"])
    with pytest.raises(DataError, match="there is no such folder or file of cases"):
        open_cases("classification", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"the run's config\.yaml names no data"):
        set_policy([])
        Cases(SimpleNamespace(settings={}, task=None), tmp_path, only=None, limit=0)

    def other(data):
        dataset = data["init_args"]["dataset"]
        data.update(
            class_path="medimg.datamodules.SliceFeatureDataModule",
            init_args={"dataset": dataset, "features": "kept"},
        )

    with pytest.raises(
        ConfigError, match="expected a run on images or volumes, found SliceFeatureDataModule"
    ):
        open_cases("classification", tmp_path / "data", other)

from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from writers.grids import make_grid, make_hu

from medimg.cli import main
from medimg.datasets.dicom_folder import holds_dicom, index_dicom
from medimg.datasets.plain import index_plain
from medimg.errors import DataError
from medimg.io.dicom.series import read_stack
from medimg.io.dicom.write_series import write_series
from medimg.io.nifti import read_grid, read_mask
from medimg.preparation.source import read_case
from medimg.records import DatasetIndex, Record

TRAINED = DatasetIndex(
    "Trained",
    Path("trained"),
    ("CT",),
    {"liver": 1},
    records=(),
    test=(Record("t", "t", (Path("t.nii.gz"),)),),
)


def write(root, number=1, **about):
    return write_series(root / str(number), make_hu(seed=number), make_grid(), series_number=number, **about)


def test_each_series_is_a_case(tmp_path, caplog):
    files = write(tmp_path)
    write(tmp_path, 2, description="lung")
    scout = write_series(
        tmp_path / "3", make_hu(), make_grid(), elements={"ImageType": ["LOCALIZER"]}, series_number=2
    )
    index = index_plain(tmp_path, like=TRAINED)
    assert [record.case_id for record in index.all_records] == ["P1_001", "P1_002_lung"]
    assert index.unlabelled[0].images == tuple(files)
    assert {record.patient_id for record in index.unlabelled} == {"P1"}
    assert (index.channels, index.labels) == (("CT",), {"liver": 1})
    assert f"{scout[0]}: left out: a localizer" in caplog.text


def test_a_case_is_read_as_a_volume(tmp_path):
    write_series(tmp_path, make_hu(), make_grid(), depths_mm=[0, 2, 4, 7, 10])
    index = index_dicom(tmp_path, like=TRAINED)
    case = read_case(index.unlabelled[0], index)
    assert (case.image.dtype, case.image.shape) == (np.float32, (1, 6, 6, 7))
    assert case.grid.spacing_mm[0] == pytest.approx(2)
    assert "interpolated to 2 mm" in case.warnings[0]


def test_all_faults_are_named_before_the_first_case(tmp_path):
    for number in (1, 2):
        write(tmp_path, number)[2].unlink()
    with pytest.raises(
        DataError, match=r"(?s)2 faults in this DICOM data set:.*P1_001: .*missing.*P1_002: .*missing"
    ):
        index_dicom(tmp_path, like=TRAINED)


def test_networks_of_several_channels_take_no_series(tmp_path):
    write(tmp_path)
    several = DatasetIndex("Trained", Path("trained"), ("T1", "T2"), {"liver": 1}, records=())
    with pytest.raises(DataError, match=r"takes 2 channels \(T1, T2\).*_0000\.nii\.gz"):
        index_dicom(tmp_path, like=several)
    index = index_dicom(tmp_path, like=TRAINED)
    with pytest.raises(DataError, match="expected 2 channels"):
        read_case(index.unlabelled[0], several)


def test_what_holds_dicom(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert not holds_dicom(tmp_path)
    write(tmp_path)
    assert holds_dicom(tmp_path)


@pytest.mark.slow
def test_a_network_predicts_straight_from_dicom(tmp_path, write_decathlon, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_decathlon(tmp_path / "Task99", cases=4, channels=("CT",), shape=(16, 16, 16))
    grid = make_grid((16, 16, 16), tilt=15.0)
    files = write_series(tmp_path / "scan", make_hu(grid.shape), grid)
    config = Path(__file__).parents[1] / "conf" / "softmax.yaml"
    words = ["--data.root", str(root), "--data.num_workers", "0", "--trainer.max_epochs", "1"]
    assert main(["fit", "--config", str(config), *words]) == 0
    run = "lightning_logs/softmax/version_0"
    predict = [
        "predict",
        "--config",
        f"{run}/config.yaml",
        "--ckpt_path",
        "last",
        "--data.predict_root",
        "scan",
    ]
    for save_as in ("nifti", "seg.nrrd", "dicom-seg"):
        assert main([*predict, "--save_as", save_as, "--out", save_as]) == 0
    stack = read_stack(files)
    labels = read_mask(tmp_path / "nifti/P1_001.nii.gz")
    assert labels.shape == stack.grid.shape
    assert labels.any()
    np.testing.assert_allclose(
        read_grid(tmp_path / "nifti/P1_001.nii.gz").affine, stack.grid.affine, atol=1e-4
    )
    image = SimpleITK.ReadImage(tmp_path / "seg.nrrd/P1_001.seg.nrrd")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), labels)
    segmentation = highdicom.seg.segread(tmp_path / "dicom-seg/P1_001.dcm")
    pixels = segmentation.get_pixels_by_source_instance(
        [dcmread(file).SOPInstanceUID for file in files],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(pixels, stack.to_slices(labels))

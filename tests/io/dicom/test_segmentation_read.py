import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medimg.errors import DataError
from medimg.io.dicom.segmentation_read import read_dicom_seg

CT, SEG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.mark.parametrize(("storage", "kind"), [(CT, None), (SEG, "FRACTIONAL")])
def test_what_is_no_binary_segmentation_is_refused(tmp_path, storage, kind):
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = storage, "1.2.3"
    if kind is not None:
        header.SegmentationType = kind
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID, header.file_meta.MediaStorageSOPInstanceUID = storage, "1.2.3"
    header.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(
        DataError, match=f"expected a binary DICOM SEG, found SOP class {storage} of type {kind}"
    ):
        read_dicom_seg(tmp_path / "x.dcm")

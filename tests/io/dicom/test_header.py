import pytest
from pydicom.dataset import Dataset

from medimg.io.dicom.header import read_header


def test_an_empty_header_says_nothing():
    found = read_header(Dataset())
    assert (found.spacing_mm, found.laterality, found.view, found.patient_id) == (None, "", "", "")
    assert found.flags == ()


def test_the_most_exact_spacing_is_taken():
    header = Dataset()
    header.ImagerPixelSpacing = [0.1, 0.2]
    found = read_header(header)
    assert found.spacing_mm == (0.1, 0.2)
    assert found.flags == ("spacing from ImagerPixelSpacing",)
    header.PixelSpacing = [0.3, 0.4]
    assert read_header(header).spacing_mm == (0.3, 0.4)
    assert read_header(header).flags == ()


@pytest.mark.parametrize("spacing", [[0, 1], [1, -1], [1, 2, 3], 1])
def test_a_spacing_without_size_is_flagged(spacing):
    header = Dataset()
    header.PixelSpacing = spacing
    found = read_header(header)
    assert found.spacing_mm is None
    assert len(found.flags) == 1


@pytest.mark.parametrize(("keyword", "value"), [("ImageLaterality", "L"), ("Laterality", "L")])
def test_the_side_has_two_elements(keyword, value):
    header = Dataset()
    setattr(header, keyword, value)
    assert read_header(header).laterality == "L"


def test_the_view_is_a_word_or_a_code():
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "R-10226", "medio-lateral oblique"
    header = Dataset()
    header.ViewCodeSequence = [code]
    assert read_header(header).view == "MLO"
    code.CodeValue = "unheard-of"
    assert read_header(header).view == "medio-lateral oblique"
    header.ViewPosition = "CC"
    assert read_header(header).view == "CC"


def test_an_enhanced_file_has_its_spacing_in_the_groups():
    measures, anatomy, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.5, 0.5]
    anatomy.FrameLaterality = "R"
    shared.PixelMeasuresSequence, shared.FrameAnatomySequence = [measures], [anatomy]
    header = Dataset()
    header.SharedFunctionalGroupsSequence = [shared]
    found = read_header(header)
    assert found.spacing_mm == (0.5, 0.5)
    assert found.laterality == "R"

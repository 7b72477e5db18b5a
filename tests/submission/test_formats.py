import re

import pytest

from medimg.datasets.rsna_mammography import RSNAMammography
from medimg.scoring.regions import BRATS_REGIONS, BRATS_WRITE_ORDER
from medimg.submission.formats import FORMATS, CodeFormat, TableFormat, ZipFormat

HEADERS = {
    "rsna-mammography": "prediction_id,cancer",
    "rsna-pe": "id,label",
    "isic2020": "image_name,target",
    "rsna-miccai": "BraTS21ID,MGMT_value",
    "spine2022": "row_id,fractured",
    "hubmap": "id,predicted",
    "uw-madison": "id,class,predicted",
    "siim-pneumothorax": "ImageId,EncodedPixels",
}
BRATS = [name for name in FORMATS if name.startswith("brats")]


@pytest.mark.parametrize(("name", "header"), HEADERS.items())
def test_columns_are_the_competitions(name, header):
    layout = FORMATS[name]
    found = layout.header if isinstance(layout, CodeFormat) else (layout.ids, *layout.columns)
    assert ",".join(found) == header


def test_ranzcr_has_eleven_labels():
    layout = FORMATS["ranzcr"]
    assert isinstance(layout, TableFormat)
    assert (layout.ids, len(layout.columns)) == ("StudyInstanceUID", 11)


@pytest.mark.parametrize("name", BRATS)
def test_brats_values_are_those_that_are_scored(name):
    layout = FORMATS[name]
    assert set(layout.labels.values()) == {
        value for values in BRATS_REGIONS[name].values() for value in values
    }
    assert tuple(layout.region_labels.items()) == BRATS_WRITE_ORDER[name]


@pytest.mark.parametrize("name", [*BRATS, "decathlon"])
def test_examples_fit_their_pattern(name):
    layout = FORMATS[name]
    assert isinstance(layout, ZipFormat)
    assert re.fullmatch(layout.pattern, layout.example)


@pytest.mark.parametrize(
    ("name", "word", "fits"),
    [
        ("brats2023", "BraTS-GLI-00001-000", True),
        ("brats2023", "00001-000", True),
        ("brats2023", "BraTS-GLI-00001-000-seg", False),
        ("brats2023", "BraTS2021_00001", False),
        ("brats2021", "BraTS2021_00001", True),
        ("brats2021", "case_1", False),
        ("rsna-mammography", "10008_L", True),
        ("rsna-mammography", "10008_736471439", False),
        ("rsna-miccai", "00012", True),
        ("rsna-miccai", "12", False),
        ("spine2022", "1.2.3_C7", True),
        ("spine2022", "1.2.3_patient_overall", True),
        ("spine2022", "1.2.3_C8", False),
    ],
)
def test_patterns(name, word, fits):
    assert bool(re.fullmatch(FORMATS[name].pattern, word)) is fits


def test_breasts_are_called_as_the_data_set_calls_them():
    assert "<patient>_<L|R>" in RSNAMammography.__doc__

import pytest

from medimg.io.segments import make_segments


def test_segments_stand_in_the_order_of_their_values():
    segments = make_segments({"late": 9, "early": 2})
    assert [(one.name, one.value) for one in segments] == [("early", 2), ("late", 9)]
    assert segments[0].colour != segments[1].colour


@pytest.mark.parametrize(
    ("name", "category", "code"),
    [
        ("liver", "Anatomical Structure", "10200004"),
        ("Hippocampus", "Anatomical Structure", "5366008"),
        ("tumour", "Morphologically Abnormal Structure", "108369006"),
        ("lung nodule", "Morphologically Abnormal Structure", "27925004"),
        ("oedema", "Morphologically Abnormal Structure", "79654002"),
        ("ET", "Tissue", "85756007"),
        ("positive", "Tissue", "85756007"),  # a word of SNOMED CT, and no thing that can be outlined
    ],
)
def test_names_become_codes(name, category, code):
    (segment,) = make_segments({name: 1})
    assert (segment.category.meaning, segment.kind.value) == (category, code)
    assert segment.kind.scheme_designator == "SCT"

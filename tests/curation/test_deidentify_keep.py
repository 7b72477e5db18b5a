import pytest

from medimg.curation.deidentify_dataset import decide
from medimg.curation.deidentify_keep import is_standard_uid, kept_tags, kept_word, kind_of
from medimg.curation.deidentify_table import find_row


def test_where_table_and_keep_list_meet_the_table_rules():
    """What stands in both is mapped or treated item by item by default, and never kept as it is."""
    both = [tag for tag in kept_tags() if find_row(tag)]
    assert 0x00080018 in both
    assert all(decide(tag, frozenset()) != "keep" for tag in both)
    assert all(decide(tag, frozenset()) == "keep" for tag in kept_tags() if not find_row(tag))


def test_no_free_text_is_on_the_keep_list():
    text = {tag for tag in kept_tags() if kind_of(tag) in ("LT", "ST", "UT", "PN", "AE", "DA", "DT", "TM")}
    assert text == set()


@pytest.mark.parametrize(
    ("tag", "kind", "value", "kept"),
    [
        (0x00080060, "CS", "MR", "MR"),
        (0x00080060, "CS", "JANE", None),
        (0x00080005, "CS", "ISO_IR 192", "ISO_IR 192"),
        (0x00080005, "CS", "ISO_IR Doe", None),
        (0x00209056, "SH", "1", "1"),
        (0x00209056, "SH", "19550321", None),
        (0x00280030, "DS", " 0.5 ", "0.5"),
        (0x00280030, "DS", "1;2", None),
        (0x00180015, "CS", "", ""),
    ],
)
def test_words_and_numbers(tag, kind, value, kept):
    assert kept_word(tag, kind, value) == kept


def test_kinds_and_uids():
    assert kind_of(0x00291001) == ""
    assert is_standard_uid("1.2.840.10008.1.2.1")
    assert not is_standard_uid("1.2.840.10008.1.2.1.777")

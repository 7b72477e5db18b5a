from pydicom.dataset import Dataset

from medimg.curation.deidentify_codes import clean_code, meaning_of


def code(value, scheme):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "Doe"
    item.URNCodeValue = "urn:Doe"
    return item


def test_only_standard_codes_stay_with_the_known_meaning():
    made = clean_code(code("399162004", "SCT"))
    assert set(made.dir()) == {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
    assert "cranio" in made.CodeMeaning.lower()
    assert clean_code(code("19550321", "SCT")) is None
    assert clean_code(code("10200004", "99LOCAL")) is None
    assert clean_code(Dataset()) is None


def test_old_snomed_means_the_same():
    assert meaning_of("SRT", "T-62000") == meaning_of("SNM3", "T-62000") == meaning_of("SCT", "10200004")
    assert meaning_of("UCUM", "[hnsf'U]") is not None

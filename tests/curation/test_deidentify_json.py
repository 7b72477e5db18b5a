import json

import pytest

from medimg.curation.deidentify_json import clean_json, text_of
from medimg.curation.deidentify_streams import Refused


def test_numbers_under_known_names_stay_and_the_rest_goes():
    entries = {
        "EchoTime": 0.03, "SliceTiming": [0, 0.5], "PhaseEncodingDirection": "j-", "Modality": "MR", "FlipAngle": True,
        "ImageType": ["ORIGINAL", "Doe"], "BodyPartExamined": "Doe", "SeriesInstanceUID": "1.2.3", "Doe": 1,
        "RepetitionTime": {"Doe": 2}, "PatientID": 17, "KVP": [[1]],
    }  # fmt: skip
    content, dropped = clean_json(json.dumps(entries).encode())
    assert json.loads(content) == {name: entries[name] for name in list(entries)[:5]}
    assert dropped == 7
    assert clean_json(content) == (content, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "damaged"), (b"[1]", "JSON object"), (b'{"a": "\xff"}', "UTF-8"), (b"[" * 100_000, "damaged")],
)
def test_what_is_no_sidecar_is_refused(content, message):
    with pytest.raises(Refused, match=message):
        clean_json(content)
    with pytest.raises(Refused, match="64 MiB"):
        clean_json(b" " * (1 << 26) + b"{}")


def test_all_text_is_found_for_the_search():
    content = json.dumps({"EchoTime": "Jane", "Doe": [{"a": "17"}], "Modality": "MR"}).encode()
    assert sorted(text_of(content)) == ["17", "Doe", "Jane", "a"]
    assert text_of(b"{") == []

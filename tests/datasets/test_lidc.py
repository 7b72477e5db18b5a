import pytest

from medimg.datasets import LIDC
from medimg.errors import DataError
from medimg.phantoms.nodules import write_nodules


def test_a_folder_that_was_not_converted_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected nodules\.csv.*Convert the scans first"):
        LIDC().index(tmp_path)


def test_nodules_are_cases_of_their_patients(tmp_path):
    out = tmp_path / "nodules"
    write_nodules(out, nodules=12, seed=1, size=16)
    index = LIDC(exclude_neither=False).index(out)
    assert (index.name, index.task, index.classes) == ("LIDC", "binary", ("malignant",))
    assert len(index.records) == 12
    assert [record.patient_id for record in index.records[:4]] == ["PHANTOM-9001"] * 3 + ["PHANTOM-9002"]
    assert all(record.images[0].is_file() for record in index.records)
    # A mean of 3 is neither, and is left out by default.
    table = (out / "nodules.csv").read_text().splitlines()
    header, first = table[0].split(","), table[1].split(",")
    first[header.index("malignant")] = ""
    second = table[2].split(",")
    second[header.index("readers")], second[header.index("malignant")] = "2", "1"
    (out / "nodules.csv").write_text(
        "\n".join([table[0], ",".join(first), ",".join(second), *table[3:]]) + "\n"
    )
    left = {record.case_id for record in LIDC().index(out).records}
    assert not left & {first[0], second[0]}
    assert second[0] in {record.case_id for record in LIDC(min_readers=2).index(out).records}
    with pytest.raises(DataError, match="none of 12 nodules was outlined by 5 readers and has a label"):
        LIDC(min_readers=5).index(out)

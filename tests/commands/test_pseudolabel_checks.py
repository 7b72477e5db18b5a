from pathlib import Path

import pytest

from medimg.commands.pseudolabel_checks import check_out, report
from medimg.ensembling.pseudo_choice import Changes
from medimg.errors import ConfigError
from medimg.preparation.pseudo_note import NOTE


def test_a_folder_is_replaced_only_if_this_verb_wrote_it(tmp_path):
    out = tmp_path / "masks"
    check_out(out, False)
    out.mkdir()
    check_out(out, False)
    (out / "mine.nii.gz").write_bytes(b"")
    with pytest.raises(ConfigError, match="exists already"):
        check_out(out, False)
    with pytest.raises(ConfigError, match="was not written by this verb"):
        check_out(out, True)
    (out / NOTE).write_text("{}")
    check_out(out, True)


def test_the_first_round_has_nothing_to_compare_with(capsys):
    report(1, Changes(0, 3, 0, 0), Path("a b.csv"), Path("s.csv"), "labels")
    assert capsys.readouterr().out == (
        "next: medimg fit --config CONFIG --data.split.file s.csv --data.pseudo.path 'a b.csv'\n"
    )

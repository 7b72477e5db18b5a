import inspect

import pytest

from medimg import cli, errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_a_user_can_mend_is_shown_without_a_traceback(kind, monkeypatch, capsys):
    assert issubclass(kind, errors.MedimgError)

    def fail(words):
        raise kind("case a: expected this, found that; do so")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main(["fit"]) == cli.REFUSED
    assert capsys.readouterr().err == "error: case a: expected this, found that; do so\n"
    with pytest.raises(kind):
        cli.main(["fit", "--debug"])

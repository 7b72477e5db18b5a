import pytest

from medimg.cli import RUN_VERBS, main
from medimg.commands.run_help import help_text


@pytest.mark.parametrize("verb", RUN_VERBS)
def test_the_help_of_a_run_is_short_and_says_how_to_see_more(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown == help_text(verb)
    assert len(shown.splitlines()) < 30
    for part in (
        "--config",
        "--ckpt_path",
        "--trust-package",
        "--print_config",
        "--help-all",
        f"medimg {verb}",
    ):
        assert part in shown


def test_the_full_help_lists_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help-all"]) == 0
    shown = capsys.readouterr().out
    for option in (
        "--trainer.max_epochs",
        "--trainer.precision",
        "--experiment",
        "--model.help",
        "--ckpt_path",
    ):
        assert option in shown

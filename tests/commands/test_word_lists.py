from pathlib import Path

import pytest

from medimg.commands.parser import call
from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError


def verb(
    members: list[Path], *, weights: list[float] | None = None, name: str = "x", dry: bool = False
) -> None:
    """Do nothing.

    Args:
        members: Folders.
        weights: One a member.
        name: Any word.
        dry: A switch.
    """
    seen.append((members, weights, name, dry))


seen: list[tuple] = []


def read(*words):
    call(WordListParser, verb, list(words), prog="medimg verb")
    return seen.pop()


def test_lists_are_given_word_by_word():
    members = [Path("a"), Path("b,c")]
    assert read("a", "b,c", "--weights", "2", "1.5", "--name", "y") == (members, [2.0, 1.5], "y", False)
    assert read("--weights", "2", "1.5", "--dry", "true", "a", "b,c") == (members, [2.0, 1.5], "x", True)
    assert read("a", "b,c", "--dry") == (members, None, "x", True)


def test_the_help_shows_words(capsys):
    with pytest.raises(SystemExit):
        read("--help")
    shown = capsys.readouterr().out
    assert "MEMBER [MEMBER ...]" in shown
    assert "--weights WEIGHTS [WEIGHTS ...]" in shown
    assert "--weights+" not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [(["a", "--weights", "two"], "weights"), ([], "members"), (["a", "--nam", "b"], "--name")],
)
def test_errors_name_the_argument(words, message):
    with pytest.raises(ConfigError, match=message):
        read(*words)

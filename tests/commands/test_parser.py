from pathlib import Path

import pytest

from medimg.commands.parser import FileVerbParser, call
from medimg.errors import ConfigError


def greet(name: str, *, times: int = 1, loud: bool = False) -> int:
    """Greet somebody.

    Args:
        name: Whom.
        times: How often.
        loud: Shout.
    """
    return times if not loud else -times


def remember(name: str) -> None:
    """Give nothing back."""


def run(*words: str) -> int:
    return call(FileVerbParser, greet, list(words), prog="medimg greet")


def test_the_functions_number_is_the_exit_status() -> None:
    assert run("Ada", "--times", "3") == 3
    assert run("Ada", "--times=2", "--loud=true") == -2
    assert call(FileVerbParser, remember, ["Ada"], prog="medimg remember") == 0


def test_sub_verbs_are_functions_of_their_own() -> None:
    target = {"greet": greet, "remember": remember}
    assert call(FileVerbParser, target, ["greet", "Ada", "--times", "4"], prog="medimg talk") == 4
    with pytest.raises(ConfigError, match="Did you mean --times"):
        call(FileVerbParser, target, ["greet", "Ada", "--tims", "4"], prog="medimg talk")


@pytest.mark.parametrize("option", ["--time", "--t", "--tim"])
def test_options_are_spelt_out(option: str) -> None:
    with pytest.raises(ConfigError, match=f"There is no option {option}"):
        run("Ada", option, "3")


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(ConfigError, match="times: expected int, found 'often'"):
        run("Ada", "--times", "often")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"required and missing: name\. --help"):
        run()


def test_help_leaves_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        run("--help")
    assert leave.value.code == 0
    assert "How often." in capsys.readouterr().out


def test_dashes_are_underscores_and_config_is_an_argument_like_others(tmp_path) -> None:
    seen = []

    def verb(data: Path, *, config: Path | None = None, memory_gb: float = 8.0) -> None:
        """Do it."""
        seen.append((data, config, memory_gb))

    call(FileVerbParser, verb, ["some-data", "--config", "a.yaml", "--memory-gb=4"], prog="medimg verb")
    call(FileVerbParser, verb, ["some-data", "--memory_gb", "5"], prog="medimg verb")
    assert seen == [(Path("some-data"), Path("a.yaml"), 4.0), (Path("some-data"), None, 5.0)]

from pathlib import Path

import pytest

from medimg.commands.run_words import check_configs, config_files
from medimg.errors import ConfigError


def test_every_spelling_of_config_is_found() -> None:
    words = ["--config", "a.yaml", "-c", "b.yaml", "--config=c.yaml", "--configs", "d.yaml", "--x=--config"]
    assert config_files(words) == [Path("a.yaml"), Path("b.yaml"), Path("c.yaml")]
    with pytest.raises(ConfigError, match="expects a file"):
        config_files(["--config"])


def test_a_missing_config_names_the_nearest_or_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "hippocampus.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match=r"Did you mean .*hippocampus\.yaml\?"):
        check_configs([tmp_path / "hipocampus.yaml"])
    with pytest.raises(ConfigError, match=r"has hippocampus\.yaml\."):
        check_configs([tmp_path / "zzz.yaml"])
    with pytest.raises(ConfigError, match="has none"):
        check_configs([tmp_path / "nowhere" / "zzz.yaml"])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a: [1", "no plain YAML"),
        (b"\xff\xfe\x00", "no plain YAML"),
        (b"just words", "should hold settings"),
        (b"", "should hold settings"),
        (b"x: !!python/object/apply:os.getcwd []", "no plain YAML"),
        (b"trust_package: mypkg", "type --trust-package NAME"),
    ],
)
def test_what_is_no_config_is_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=fault):
        check_configs([path])


def test_a_good_config_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("trainer: {max_epochs: 1}\n")
    check_configs([path])

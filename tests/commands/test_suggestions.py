from pathlib import Path

import pytest

from medimg.cli import main
from medimg.commands.suggestions import MAX_LINES, MAX_WIDTH, explain, loaded, nearest, shorten

WRONG = [
    ("--trainer.max_epoch=3", "", "Did you mean --trainer.max_epochs?"),
    ("--trainer.max_epochs=three", "", "trainer.max_epochs: expected int or null, found 'three'."),
    ("--trainer.precision=bf16-mixd", "", "Did you mean bf16-mixed?"),
    ("--model.lrr=3", "", "tinypkg.Task has no argument 'lrr'. Did you mean lr?"),
    ("--model.init_args.lr=abc", "", "model.lr: expected float, found 'abc'."),
    ("--model.kind=multi", "", "expected binary or multiclass, found 'multi'. Did you mean multiclass?"),
    (
        "--model.network.in_feature=3",
        "",
        "torch.nn.Linear has no argument 'in_feature'. Did you mean in_features?",
    ),
    ("--model.optimizer=AdamWW", "", "model.optimizer: there is no class AdamWW. Did you mean AdamW?"),
    ("--model.optimizer=torch.optim.AdamWW", "", "Did you mean torch.optim.AdamW?"),
    (
        "--model.optimizer.momentun=3",
        "",
        "torch.optim.SGD has no argument 'momentun'. Did you mean momentum?",
    ),
    ("--model.network=torch.nn.Liner", "", "Did you mean torch.nn.Linear?"),
    ("--model.network=torch.nm.Linear", "", "Did you mean torch.nn.Linear?"),
    ("--model.network=torch.nn.ReLU6x", "", "Did you mean torch.nn.ReLU6?"),
    ("--model.network=torch.optim.SGD", "", "expected a Module, but torch.optim.SGD is none."),
    ("--model=tinypkg.Tsk", "", "there is no class tinypkg.Tsk. Did you mean tinypkg.Task?"),
    ("three", "", "settings are spelt --key value"),
    ("", "trainer: {max_epoch: 3}", "Did you mean trainer.max_epochs?"),
    ("", "trainr: {max_epochs: 3}", "Did you mean trainer.max_epochs?"),
    ("", "experimant: x", "Did you mean experiment?"),
    (
        "",
        "model: {init_args: {networkk: 3}}",
        "tinypkg.Task has no argument 'networkk'. Did you mean network?",
    ),
    (
        "",
        "model: {init_args: {network: {class_path: torch.nn.Conv3d}}}",
        "torch.nn.Conv3d also needs: in_channels",
    ),
    (
        "",
        "model: {init_args: {network: {class_path: torch.nn.Linear, init_args: {in_featurs: 3}}}}",
        "Did you mean in_features?",
    ),
    ("", "trainer: {callbacks: [{class_path: EarlyStoping}]}", "Did you mean EarlyStopping?"),
    (
        "",
        "trainer: {callbacks: [{class_path: EarlyStopping, init_args: {montor: x}}]}",
        "Did you mean monitor?",
    ),
    ("", "data: {init_args: {rot: x}}", "tinypkg.Data has no argument 'rot'. Did you mean root?"),
    ("", "- a list", "should hold settings"),
    ("", "a: [b", "no plain YAML"),
]


@pytest.mark.parametrize(
    ("option", "overlay", "expected"), WRONG, ids=[option or text for option, text, _ in WRONG]
)
def test_what_is_wrong_is_refused_with_the_nearest_right_name(
    tiny, option: str, overlay: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [option] if option else []
    if overlay:
        path = tiny.folder / "overlay.yaml"
        path.write_text(overlay)
        more += ["--config", str(path)]
    assert main(tiny.words("fit", *more)) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) < 10
    assert not Path("lightning_logs").exists()


def test_nothing_given_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit"]) == 2
    assert "--config FILE" in capsys.readouterr().err


def test_nearest_keeps_silent_when_nothing_is_near() -> None:
    assert nearest("zzz", ["alpha", "beta"]) is None
    assert nearest("alhpa", ["alpha", "beta"]) == "alpha"


def test_shorten_cuts_lines_and_width() -> None:
    text = shorten("\n\n".join(["x" * 1000] * 50))
    assert len(text.splitlines()) == MAX_LINES
    assert {len(line) for line in text.splitlines()} == {MAX_WIDTH}
    assert shorten("short") == "short"


def test_an_unknown_complaint_is_passed_on() -> None:
    assert explain("something else\n\nwent wrong", []) == "something else\nwent wrong"


def test_an_abstract_class_is_named() -> None:
    complaint = 'Parser key "dataset":\n  - Expected an instantiatable class, but medimg.datasets.ImageSet is abstract'
    assert (
        explain(complaint, []) == "dataset: medimg.datasets.ImageSet is abstract: name one of its subclasses."
    )


def test_loaded_imports_nothing() -> None:
    assert loaded("pathlib.Path") is Path
    assert loaded("pathlib.Path.nothing") is None
    assert loaded("no_such_module_anywhere.Thing") is None

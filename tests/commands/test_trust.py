import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medimg.cli import main
from medimg.commands import trust
from medimg.commands.trust import may_call, may_name, refusal, set_policy, split_trusted
from medimg.errors import ConfigError

FORBIDDEN = [
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "pickle.loads",
    "builtins.eval",
    "builtins.exec",
    "eval",
    "importlib.import_module",
    "runpy.run_path",
    "functools.partial",
    "numpy.load",
    "torch.load",
    "torch.hub.load",
    "monai.bundle.run",
    "jsonargparse.set_parsing_settings",
    # What an allowed package imports is not allowed with it.
    "torch.nn.modules.module.torch.load",
    "torch.nn.modules.module.torch.hub.load",
    "torch.nn.functional.torch.load",
    "torch.optim.optimizer.functools.partial",
    "monai.networks.nets.resnet.torch.load",
    "lightning.pytorch.callbacks.model_checkpoint.shutil.rmtree",
    "lightning.pytorch.loggers.csv_logs.os.system",
    "lightning.pytorch.strategies.launchers.subprocess_script.subprocess.Popen",
    "torchmetrics.utilities.imports.sys.exit",
    "albumentations.core.serialization.yaml.unsafe_load",
    "dynamic_network_architectures.building_blocks.helper.pydoc.locate",
    # Functions of allowed packages that load files, write them or run programs.
    "timm.models.create_model",
    "timm.models.load_checkpoint",
    "timm.models._hub.load_state_dict_from_hub",
    "timm.models._hub.load_state_dict_from_hf",
    "timm.models._helpers.load_state_dict",
    "timm.models.resnet.build_model_with_cfg",
    "monai.networks.utils.save_state",
    "monai.networks.utils.torch.load",
    "monai.networks.convert_to_onnx",
    "albumentations.load",
    "albumentations.from_dict",
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "tinypkg.Task.load_from_checkpoint",
    "tinypkg.os.system",
    "medimg.cli.main",
    "medimg.__main__.main",
    "medimg.commands.run.run",
    "medimg.runs.new_version",
    "medimg.io.files.shutil.rmtree",
]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line that must be refused, in few lines and with nothing done."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) < 10, error
    assert "Traceback" not in error
    assert not Path("lightning_logs").exists()
    return error


@pytest.mark.parametrize("path", FORBIDDEN)
@pytest.mark.parametrize("place", ["class_path", "callable", "bare_callable", "anything"])
def test_a_config_cannot_name_it(tiny, path: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    planted = tiny.folder / "planted"
    value = {
        "class_path": f"network: {{class_path: {path}, init_args: {{args: [touch, {planted}]}}}}",
        "callable": f"transform: {path}",
        "bare_callable": f"hook: {{class_path: {path}, init_args: {{command: touch {planted}}}}}",
        "anything": f"anything: [{{class_path: {path}, init_args: {{command: touch {planted}}}}}]",
    }[place]
    overlay = tiny.folder / "overlay.yaml"
    overlay.write_text(f"model: {{init_args: {{{value}}}}}\n")
    refused(tiny.words("fit", "--config", str(overlay)), capsys)
    assert not planted.exists()


@pytest.mark.parametrize(
    "option", ["--model", "--data", "--model.transform", "--trainer.logger", "--trainer.callbacks"]
)
@pytest.mark.parametrize("path", ["os.system", "subprocess.Popen", "torch.load", "monai.bundle.run"])
def test_the_command_line_cannot_name_it(
    tiny, option: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"may not name {path}" in refused(tiny.words("fit", f"{option}={path}"), capsys).replace(
        "posix", "os"
    )


@pytest.mark.parametrize(
    "tag", ["python/object/apply:os.system", "python/name:os.system", "python/module:os"]
)
def test_a_yaml_tag_runs_nothing(tiny, tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    planted = tiny.folder / "planted"
    overlay = tiny.folder / "overlay.yaml"
    overlay.write_text(f"model: !!{tag} ['touch {planted}']\n")
    assert "no plain YAML" in refused(tiny.words("fit", "--config", str(overlay)), capsys)
    refused(tiny.words("fit", "--model.network", f"!!{tag} ['touch {planted}']"), capsys)
    inner = tiny.folder / "network.yaml"
    inner.write_text(f"class_path: !!{tag} ['touch {planted}']\n")
    refused(tiny.words("fit", "--model.network", str(inner)), capsys)
    assert not planted.exists()


def test_a_module_that_lies_about_is_not_even_imported(
    tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tiny.folder / "planted"
    (tiny.folder / "lurking.py").write_text(f"open({str(planted)!r}, 'w')\ndef run(): ...\n")
    monkeypatch.syspath_prepend(tiny.folder)
    for option in ("--model.network=lurking.run", "--model.transform=lurking.run"):
        assert "--trust-package lurking" in refused(tiny.words("fit", option), capsys)
    refused(tiny.words("fit", '--model.anything={"class_path": "lurking.run"}'), capsys)
    assert not planted.exists()


def test_only_the_command_line_trusts_a_package(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    without = ["fit", "--config", str(tiny.config)]
    assert "--trust-package tinypkg" in refused(without, capsys)
    for key in ("trust_package: tinypkg", "trust-package: tinypkg", "trust_packages: [tinypkg]"):
        overlay = tiny.folder / "overlay.yaml"
        overlay.write_text(f"{key}\n")
        assert "A config cannot" in refused([*without, "--config", str(overlay)], capsys)
    assert main([*without, "--trust-package=tinypkg", "--print_config"]) == 0
    capsys.readouterr()
    # What one call trusted is closed again for the next one of the same process.
    assert "may not name tinypkg.Task" in refused(without, capsys)


def test_a_functions_call_needs_trust_too(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    made = "--model.network=tinypkg.function_that_makes_a_network"
    assert main(tiny.words("fit", made, "--trainer.fast_dev_run=true")) == 0
    capsys.readouterr()


def test_parts_of_the_allowed_packages_are_built(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tiny.folder / "overlay.yaml"
    for network in (
        "{class_path: timm.models.resnet18, init_args: {pretrained: false}}",
        "{class_path: monai.networks.nets.SegResNet}",
        "{class_path: torch.nn.Linear, init_args: {in_features: 32, out_features: 2}}",
    ):
        overlay.write_text(f"model: {{init_args: {{network: {network}, hook: torch.nn.ReLU}}}}\n")
        words = tiny.words(
            "fit", "--config", str(overlay), "--trainer.limit_train_batches=0", "--trainer.max_epochs=0"
        )
        assert main(words) == 0, capsys.readouterr().err


def test_pickles_stay_shut_for_every_caller(tmp_path: Path) -> None:
    planted = tmp_path / "planted"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {planted}",)

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    code = (
        "from medimg.commands.trust import set_policy\nset_policy([])\nimport torch\n"
        f"torch.load({str(tmp_path / 'evil.pth')!r}, weights_only=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Weights only load failed" in done.stderr
    assert not planted.exists()


@pytest.mark.parametrize(
    "package", ["", "os", "os.path", "builtins", "jsonargparse", "torch", "a-b", "a b", "../x", "-x"]
)
def test_some_packages_cannot_be_trusted(package: str) -> None:
    with pytest.raises(ConfigError):
        split_trusted(["fit", f"--trust-package={package}"])


def test_trust_is_taken_out_of_the_words() -> None:
    words = ["--trust-package", "a", "--x", "1", "--trust-package=b.c", "--y"]
    assert split_trusted(words) == (["--x", "1", "--y"], ["a", "b.c"])
    with pytest.raises(ConfigError, match="expects the name"):
        split_trusted(["--trust-package"])


def test_the_longest_entry_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_trusted", set())
    assert may_name("monai.networks.nets.DynUNet")
    assert not may_name("monai.networks.utils.save_state")
    assert not may_name("monai")
    assert not may_name("torch")
    assert not may_name("torch.nnx.Linear")
    assert not may_name("Linear")
    set_policy(["mypkg.nets"])
    assert may_name("mypkg.nets.Mine")
    assert not may_name("mypkg.Other")
    assert may_call("mypkg.nets.make", is_class=False)
    set_policy([])
    assert not may_name("mypkg.nets.Mine")


def test_functions_are_called_from_a_few_places_only() -> None:
    assert may_call("albumentations.core.composition.Compose", is_class=True)
    assert not may_call("albumentations.core.serialization.load", is_class=False)
    assert not may_call("timm.models.helpers.anything", is_class=False)
    assert may_call("timm.models.resnet.resnet18", is_class=False, is_timm_model=True)
    assert not may_call("torch.nn.functionality.relu", is_class=False)


def test_a_refusal_offers_trust_only_where_it_could_help() -> None:
    assert "--trust-package mypkg" in refusal("mypkg.nets.Mine")
    for path in ("os.system", "torch.load", "timm.models._hub.x", "monai.bundle.run"):
        assert "--trust-package" not in refusal(path)

import pytest
import timm.models  # noqa: F401  the check imports nothing by itself
from jsonargparse import Namespace

from medimg.commands.parts import check_parts
from medimg.errors import ConfigError


def settings(path: str) -> Namespace:
    part = Namespace(class_path=path, init_args=Namespace())
    return Namespace(model=Namespace(class_path="torch.nn.Sequential", init_args=Namespace(layers=[part])))


@pytest.mark.parametrize(
    "path",
    ["torch.nn.Linear", "torch.nn.functional.relu", "timm.models.resnet18", "timm.models.resnet.ResNet"],
)
def test_classes_and_models_pass(path: str) -> None:
    check_parts(settings(path))


@pytest.mark.parametrize(
    "path", ["torch.nn.init.normal_", "timm.models.list_models", "torch.nn.utils.clip_grad_norm_"]
)
def test_other_functions_are_refused_with_their_place(path: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^model\.init_args\.layers\[0\]: a config may not have the function {path}"
    ):
        check_parts(settings(path))


def test_a_forbidden_path_is_refused_without_being_imported() -> None:
    with pytest.raises(ConfigError, match=r"may not name no_such_module\.run"):
        check_parts(settings("no_such_module.run"))


@pytest.mark.parametrize(
    "path", ["torch.optim.optimizer.functools.partial", "torch.nn.modules.module.torch.load"]
)
def test_what_an_allowed_module_imports_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"may not name (functools\.partial|torch\.serialization\.load)"):
        check_parts(settings(path))


@pytest.mark.parametrize("path", ["torch.nn.functional", "torch.nn.Linear.nothing", "torch.nn.Nothing"])
def test_what_is_no_class_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no class {path}"):
        check_parts(settings(path))


def test_plain_data_is_left_alone() -> None:
    check_parts(
        Namespace(data={"class_path": 3, "names": ["os.system"]}, labels={"class_path": "x", "other": 1})
    )

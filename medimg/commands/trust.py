"""Which classes a config may name, and which not.

A config is data that may come from a stranger, so a class path in it must not be able to run just any
code. The rule has four parts:

1. **An allowlist of sub-packages.** jsonargparse resolves a dotted path only when the path itself and the
   place where the object is defined both lie below an entry of ``ALLOWED`` and below no longer entry of
   ``DENIED``. So ``torch.nn.modules.module.torch.load`` is refused although its first words are allowed:
   the object is defined in ``torch.serialization``.
2. **Classes, and few functions.** Calling a function is the risk: ``timm.models.create_model`` loads any
   file as a pickle, ``albumentations.load`` opens any path. A function is accepted only from the places in
   ``FUNCTIONS``, or when timm lists it as the name of a model. ``check_parts`` enforces it
   after parsing and before anything is built.
3. **No guessing.** A value with a ``class_path`` where no type asks for a class stays plain data.
4. **Pickles stay shut.** ``TORCH_FORCE_WEIGHTS_ONLY_LOAD`` makes every ``torch.load`` of the process
   weights-only, whoever calls it.

The list grows only by ``--trust-package mypkg`` on the command line: who types it says that they know the
package. A config cannot hold this option, since then the stranger would decide.
"""

import os
import sys

from medimg.errors import ConfigError

ALLOWED = (
    "medimg",
    "torch.nn",
    "torch.optim",
    "lightning.pytorch.accelerators",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.cli.ReduceLROnPlateau",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    # Where Lightning defines the cluster environments and the plugins that both its halves share.
    "lightning.fabric.plugins",
    "monai.networks",
    "monai.losses",
    "monai.inferers",
    "timm.models",
    "torchmetrics",
    "albumentations",
    "dynamic_network_architectures",
)
"""Packages whose classes a config may name."""

ALLOWED_IN_WORDS = (
    "medimg, torch.nn, torch.optim, monai (networks, losses, inferers), timm.models, torchmetrics, "
    "albumentations, dynamic_network_architectures, "
    "lightning.pytorch (callbacks, loggers, profilers, plugins, strategies)"
)

DENIED = (
    "*",
    # The verbs themselves and what writes files: no part of a run.
    "medimg.cli",
    "medimg.__main__",
    "medimg.commands",
    "medimg.io",
    "medimg.parallel",
    "medimg.phantoms",
    "medimg.preparation",
    "medimg.runs",
    # Write files, start compilers or unpack archives; no network that is worth it is defined here.
    "monai.networks.utils",
    "monai.networks.trt_compiler",
    "monai.networks.nets.transchex",
    # Load, fetch and unpickle whatever path they are given.
    "timm.models._factory",
    "timm.models._helpers",
    "timm.models._hub",
    "timm.models._builder",
    "albumentations.core.serialization",
    "albumentations.core.hub_mixin",
)
"""Paths that stay closed; the longest entry decides."""

FUNCTIONS = (
    "medimg",
    "torch.nn.functional",
    "torchmetrics.functional",
    "monai.networks.nets",
    "monai.networks.blocks",
)
"""Packages whose functions, too, a config may name."""

_trusted: set[str] = set()


def split_trusted(argv: list[str]) -> tuple[list[str], list[str]]:
    """Take every ``--trust-package NAME`` out of a command line.

    Args:
        argv: Words of the command line.

    Returns:
        The other words, and the packages named.

    Raises:
        ConfigError: If a name is missing, is no package name, or belongs to Python itself.

    Example:
        >>> split_trusted(["fit", "--trust-package", "mypkg", "--config=a.yaml"])
        (['fit', '--config=a.yaml'], ['mypkg'])
    """
    rest: list[str] = []
    packages: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--trust-package":
            rest.append(word)
            continue
        package = value if equals else next(words, "")
        _check_package(package)
        packages.append(package)
    return rest, packages


def _check_package(package: str) -> None:
    if not package or not all(part.isidentifier() for part in package.split(".")):
        raise ConfigError(
            f"--trust-package expects the name of a Python package, such as mypkg, not {package!r}."
        )
    first = package.split(".")[0]
    if first in sys.stdlib_module_names or first == "jsonargparse" or package == "torch":
        raise ConfigError(
            f"--trust-package {package} would let a config run any code. "
            "Name the package that holds your own classes."
        )


def set_policy(trusted: list[str]) -> None:
    """Close every import path to configs but the allowed and the trusted ones.

    Args:
        trusted: Packages named by ``--trust-package``.
    """
    from jsonargparse import set_parsing_settings

    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    # The settings live as long as the process; what an earlier call trusted is closed again.
    withdrawn = sorted(_trusted - set(trusted) - set(ALLOWED))
    _trusted.clear()
    _trusted.update(trusted)
    set_parsing_settings(
        import_path_denylist=[*DENIED, *withdrawn],
        import_path_allowlist=[*ALLOWED, *trusted],
        instantiate_subclass_spec_in_any=False,
    )


def may_name(path: str) -> bool:
    """Whether a dotted path lies in a package that configs may name.

    Args:
        path: Dotted path of a module, a class or a function.

    Returns:
        What the longest entry of the lists says.

    Example:
        >>> may_name("torch.nn.Linear"), may_name("torch.load"), may_name("timm.models._hub.get_cache_dir")
        (True, False, False)
    """
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        entry = ".".join(parts[:end])
        if entry in ALLOWED or entry in _trusted:
            return True
        if entry in DENIED:
            return False
    return False


def refusal(path: str) -> str:
    """What to tell the user about a path that a config may not name.

    Args:
        path: Dotted path.

    Returns:
        Up to three lines.
    """
    lines = [f"a config may not name {path}.", f"Allowed are the classes of {ALLOWED_IN_WORDS}."]
    first = path.split(".")[0]
    if first not in sys.stdlib_module_names and not any(entry.split(".")[0] == first for entry in ALLOWED):
        lines.append(f"If {first} is your own package, and you trust it, add --trust-package {first}.")
    return "\n".join(lines)


def may_call(path: str, *, is_class: bool, is_timm_model: bool = False) -> bool:
    """Whether a config may have the object at an allowed path called.

    Args:
        path: Dotted path of where the object is defined.
        is_class: Whether it is a class.
        is_timm_model: Whether timm lists it as a model's constructor.

    Returns:
        True for a class, a listed function, or anything of a trusted package.

    Example:
        >>> may_call("torch.nn.functional.relu", is_class=False)
        True
        >>> may_call("timm.models._factory.create_model", is_class=False)
        False
    """
    if is_class or is_timm_model:
        return True
    return any(path == entry or path.startswith(f"{entry}.") for entry in (*FUNCTIONS, *_trusted))

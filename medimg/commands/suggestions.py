"""Turn a parser's complaint into a few lines with the nearest right name.

jsonargparse reports every type that it tried, often over more than ten lines. The first line that names
a cause is kept, with the key and the class it belongs to, and what was probably meant is looked up among
the options and the classes that are loaded already: nothing is imported for the sake of a message.
"""

import difflib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType

from medimg.commands.trust import may_name, refusal

MAX_LINES = 8
MAX_WIDTH = 300

# Where short class names in a config come from.
_HOMES = (
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "torch.optim",
    "torch.optim.lr_scheduler",
    "medimg.callbacks",
    "medimg.datamodules",
    "medimg.datasets",
    "medimg.tasks",
)


@dataclass(frozen=True)
class _Place:
    """Where in the settings a complaint belongs: dotted key, and the class whose argument it is."""

    key: str = ""
    class_path: str = ""

    def prefix(self) -> str:
        return f"{self.key}: " if self.key else ""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that a misspelt name most probably meant.

    Args:
        name: What was typed.
        choices: What would be right.

    Returns:
        The nearest choice, or ``None`` when nothing comes close.

    Example:
        >>> nearest("trainer.max_epoch", ["trainer.max_epochs", "trainer.max_time"])
        'trainer.max_epochs'
    """
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return found[0] if found else None


def shorten(message: str) -> str:
    """Cut a message to a few lines of bearable length.

    Args:
        message: Any text.

    Returns:
        At most ``MAX_LINES`` lines of at most ``MAX_WIDTH`` characters.
    """
    lines = [line.rstrip() for line in message.splitlines() if line.strip()]
    cut = [line if len(line) <= MAX_WIDTH else line[: MAX_WIDTH - 4] + " ..." for line in lines]
    return "\n".join(cut[:MAX_LINES])


def explain(message: str, options: Sequence[str]) -> str:
    """Say in a few lines what a parser refused, what it expected and what was probably meant.

    Args:
        message: What the parser found.
        options: Every option it knows, without dashes.

    Returns:
        A message of under ten lines.

    Example:
        >>> print(explain("unrecognized arguments: --trainer.max_epoch 3", ["trainer.max_epochs"]))
        There is no option --trainer.max_epoch. Did you mean --trainer.max_epochs?
    """
    place = _Place()
    for line in message.splitlines():
        place = _move(place, line)
        text = _option_fault(line, place, options) or _class_fault(line, place)
        if text:
            return shorten(text)
    return shorten(_value_fault(message, place) or message)


def _move(place: _Place, line: str) -> _Place:
    if found := re.search(r"""Parser key "([\w.+-]+)":""", line):
        return _Place(f"{place.key}.{found[1]}" if place.key else found[1], place.class_path)
    if found := re.search(r"Problem with given class_path '([\w.]+)'", line):
        return _Place(place.key, found[1])
    return place


def _did_you_mean(name: str | None) -> str:
    return f" Did you mean {name}?" if name else ""


def _option_fault(line: str, place: _Place, options: Sequence[str]) -> str | None:
    """An option, a key or an argument that does not exist, or one that is missing."""
    if found := re.search(r"unrecognized arguments: (--)?([^\s=]+)", line):
        if not found[1]:
            return f"{found[2]!r} was not expected here: settings are spelt --key value."
        near = nearest(found[2], options)
        return f"There is no option --{found[2]}.{_did_you_mean(near and f'--{near}')}"
    if found := re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", line):
        name = f"{found[1]}.{found[2]}"
        return f"There is no setting {name}.{_did_you_mean(nearest(name, options))}"
    if found := re.search(r"Option '([\w.]+)' is not accepted", line):
        if callable_class := re.search(r"class_path='([\w.]+)'", line):
            place = _Place(place.key, callable_class[1])
        if not place.class_path:
            near = nearest(found[1], options) or nearest(found[1].split(".")[0], options)
            return f"There is no setting {found[1]}.{_did_you_mean(near)}"
        arguments = _arguments(place.class_path)
        near = nearest(found[1], arguments)
        expected = "" if near or not arguments else f" Expected one of: {', '.join(arguments)}."
        return (
            f"{place.prefix()}{place.class_path} has no argument {found[1]!r}.{_did_you_mean(near)}{expected}"
        )
    if found := re.search(r"the following arguments are required: (.+)", line):
        if place.class_path:
            return f"{place.prefix()}{place.class_path} also needs: {found[1]}."
        runs = any(name.startswith("trainer") for name in options)
        hint = "Settings usually come from a file: --config FILE." if runs else "--help says what they are."
        return f"These are required and missing: {found[1]}. {hint}"
    return None


def _class_fault(line: str, place: _Place) -> str | None:
    """A class path that names nothing, or something that configs may not name."""
    if found := re.search(r"Importing '([\w.]+)' is not allowed", line):
        near = _near_path(found[1])
        if near:
            return f"{place.prefix()}there is no allowed class {found[1]}.{_did_you_mean(near)}"
        return f"{place.prefix()}{refusal(found[1])}"
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", line):
        path = f"{found[1]}.{found[2]}"
        return f"{place.prefix()}there is no class {path}.{_did_you_mean(_near_path(path))}"
    if found := re.search(r"No module named '([\w.]+)'", line):
        near = nearest(found[1], sys.modules)
        return f"{place.prefix()}there is no module {found[1]}.{_did_you_mean(near)}"
    if found := re.search(r"Expected a dot import path string: (\S+)", line):
        near = nearest(found[1], (name for home in _HOMES for name in _classes(home)))
        return f"{place.prefix()}there is no class {found[1]}.{_did_you_mean(near)}"
    if found := re.search(r"Import path ([\w.]+) does not correspond to a subclass of (\w+)", line):
        return f"{place.prefix()}expected a {found[2]}, but {found[1]} is none."
    if found := re.search(r"Expected an instantiatable class, but ([\w.]+) is abstract", line):
        return f"{place.prefix()}{found[1]} is abstract: name one of its subclasses."
    if found := re.search(r"Expected '([\w.]+)' to be (a .+)", line):
        return f"{place.prefix()}expected {found[2]}, but {found[1]} is none."
    return None


def _value_fault(message: str, place: _Place) -> str | None:
    """A value of the wrong type: what was expected, in words, and what was found."""
    found = re.search(r".*Got value: (.+)", message) or re.search(r"Given value: (.+)", message)
    # What was expected stands beside the value, or for a choice of types in lines of its own.
    where = found[0] if found and "Got value" in found[0] else message
    kinds = re.findall(r"Expected a (<class '[\w.]+'>|typing\.Literal\[.*?\](?=\.|$|\n))", where)
    if not kinds or not found or not place.key:
        return None
    names: dict[str, None] = {}
    for kind in kinds:
        literals = re.findall(r"'([^']+)'|\b(\d+)\b", kind) if "Literal" in kind else []
        plain = kind.removeprefix("<class '").removesuffix("'>").replace("NoneType", "null")
        names.update(dict.fromkeys([text or number for text, number in literals] or [plain]))
    nested = re.match(r"NestedArg\(key='[^']*', val=(.*)\)$", found[1].strip())
    value = (nested or found)[1].strip().strip("'\"")
    if "null" in names:
        # A missing value is the last thing that a wrong one was meant to be.
        del names["null"]
        names["null"] = None
    if list(names) == ["null"]:
        # Only leaving it out would have fitted: the reason stands in another line, if anywhere.
        causes = re.findall(r"^\s+- (?!Expected a )(.+)$", message, re.MULTILINE)
        return f"{place.key}: {causes[0] if causes else f'expected a class path, found {value[:80]!r}'}"
    near = nearest(value, names)
    return f"{place.key}: expected {' or '.join(names)}, found {value[:80]!r}.{_did_you_mean(near)}"


def loaded(path: str) -> object | None:
    """The object at a dotted path, if the modules on the way are imported already.

    Args:
        path: Dotted path of a module, a class or a function.

    Returns:
        The object, or ``None``.
    """
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        module = sys.modules.get(".".join(parts[:end]))
        if module is None:
            continue
        target: object | None = module
        for name in parts[end:]:
            target = getattr(target, name, None)
        return target
    return None


def _arguments(class_path: str) -> list[str]:
    target = loaded(class_path)
    if not callable(target):
        return []
    try:
        return [
            name for name in inspect.signature(target).parameters if name not in {"self", "args", "kwargs"}
        ]
    except ValueError:
        return []


def _classes(module_name: str) -> list[str]:
    module = sys.modules.get(module_name)
    return [name for name, value in vars(module).items() if inspect.isclass(value)] if module else []


def _near_path(path: str) -> str | None:
    """The nearest class path that exists and that a config may name."""
    parent, _, name = path.rpartition(".")
    holder = loaded(parent)
    if isinstance(holder, ModuleType) and may_name(parent):
        choices = [key for key, value in vars(holder).items() if inspect.isclass(value)]
        choices += [found.name for found in pkgutil.iter_modules(getattr(holder, "__path__", []))]
        near = nearest(name, [choice for choice in choices if not choice.startswith("_")])
        return f"{parent}.{near}" if near else None
    modules = [module for module in sys.modules if may_name(module) and "._" not in module]
    for module in difflib.get_close_matches(parent, modules, n=3, cutoff=0.8):
        if inspect.isclass(getattr(sys.modules[module], name, None)):
            return f"{module}.{name}"
    return None

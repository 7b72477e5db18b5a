"""The command ``medimg``: send each verb to its file, and show a user's errors without a traceback.

Only the standard library is imported here, because ``medimg --help`` and the file verbs answer before
torch and lightning could even be loaded (10 to 20 s on a small machine).
"""

import difflib
import importlib
import os
import sys
import warnings
from typing import Any

from medimg import __version__
from medimg.errors import ConfigError, MedimgError

FILE_VERBS = {
    "phantom": "make studies with known lesions, to try things out",
    "convert": "turn a DICOM series into a volume whose geometry can be trusted",
    "deidentify": "copy images without identity, and show that it is gone",
    "agreement": "measure how far readers agree, and make one answer of theirs",
    "adjudicate": "give each case to two readers blind, and a third where they differ",
    "audit": "check every case of a data set, and say what is wrong with which",
    "plan": "derive a readable config from a data set and a memory budget",
    "prepare": "turn a data set into the store that training reads",
    "split": "deal the patients into folds, evenly, as a table that training reads",
}
RUN_VERBS = {
    "fit": "train a model; prepares the data itself when that is still to do",
    "validate": "run the validation cases through a trained model",
    "test": "score a trained model on the original grid, each case once",
    "predict": "write one prediction a case",
}
FOLD_VERBS = {
    "crossval": "train and test every fold, and gather what each predicted unseen",
    "calibrate": "make probabilities honest, and choose thresholds, on unseen cases",
    "ensemble": "combine the predictions of several models into one",
    "postprocess": "mend masks: components, holes, small regions, a dense CRF",
    "pseudolabel": "turn sure predictions into labels for the next training",
}
SCORE_VERBS = {
    "score": "compare predictions with references, by a competition's rules",
    "submit": "write a competition's file out of predictions, and check it",
    "explain": "draw what a network's answers rest on, and test the drawing",
    "export": "turn a trained network into ONNX or torch.export, checked against itself",
    "leaderboard": "set all runs side by side, with intervals and paired tests",
    "report": "write a page and a model card of one run or several",
}
VERBS = FILE_VERBS | RUN_VERBS | FOLD_VERBS | SCORE_VERBS
"""Every verb and what it does, in the order of the work."""

INTERRUPTED = 130
REFUSED = 2
UNHEARD = 141


def main(argv: list[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The words after ``medimg``; ``None`` takes those of this process.

    Returns:
        The exit status: 0 when all went well, 1 when a check failed, 2 when the input was refused,
        130 when the user stopped it, 141 when nobody read its output to the end.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        status = _dispatch(words)
        sys.stdout.flush()
        return status
    except MedimgError as fault:
        if debug:
            raise
        sys.stderr.write(f"error: {fault}\n")
        return REFUSED
    except SystemExit as leave:
        # The parsers leave this way after --help and --print_config.
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt:
        if debug:
            raise
        sys.stderr.write("stopped by the user\n")
        return INTERRUPTED
    except BrokenPipeError:
        if debug:
            raise
        # Whoever read the output, such as head, has left; what is still buffered must not be sent there at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEARD


def _dispatch(words: list[str]) -> int:
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in {"--help", "-h", "help"}:
        sys.stdout.write(_overview())
        return 0
    if verb == "--version":
        sys.stdout.write(f"medimg {__version__}\n")
        return 0
    if verb in RUN_VERBS:
        return _run(verb, rest)
    if verb in VERBS:
        return _file_verb(verb, rest)
    raise ConfigError(_unknown_verb(verb))


def _overview() -> str:
    lines = [f"  {verb:<13}{text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "usage: medimg VERB [options]",
            "",
            "verbs, in the order of the work:",
            *lines,
            "",
            "medimg VERB --help   the options of a verb",
            "medimg --version     the version",
            "--debug              with any verb: the full traceback of an error",
            "",
        ]
    )


def _unknown_verb(verb: str) -> str:
    near = difflib.get_close_matches(verb, VERBS, n=1)
    if verb.startswith("-"):
        return f"A verb comes first, not {verb!r}. Expected one of: {', '.join(VERBS)}."
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no verb {verb!r}.{hint} Expected one of: {', '.join(VERBS)}."


def _run(verb: str, words: list[str]) -> int:
    if "--help" in words or "-h" in words:
        from medimg.commands.run_help import help_text

        sys.stdout.write(help_text(verb))
        return 0
    from medimg.commands.run_words import check_configs, config_files
    from medimg.commands.trust import set_policy, split_trusted

    rest, trusted = split_trusted(words)
    check_configs(config_files(rest))
    set_policy(trusted)
    # A note of torch to the authors of extensions, given while torchvision is imported.
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.interface` is deprecated")
    # lightning is imported from here on.
    module = importlib.import_module("medimg.commands.run")
    status: int = module.run(verb, rest)
    return status


def _file_verb(verb: str, words: list[str]) -> int:
    from medimg.commands.parser import FileVerbParser, call
    from medimg.commands.trust import set_policy

    set_policy([])
    module: Any = importlib.import_module(f"medimg.commands.{verb}")
    parser = getattr(module, "PARSER", FileVerbParser)
    return call(parser, getattr(module, verb), words, prog=f"medimg {verb}")

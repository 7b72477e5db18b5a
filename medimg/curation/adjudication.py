"""Labels of two readers: where they are in conflict, what the third decided, and the table that comes out."""

import csv
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from medimg.curation.adjudication_rules import Rule
from medimg.curation.adjudication_trail import (
    CONFLICTS,
    TRAIL,
    check_evidence,
    evidence,
    write_folder,
    write_json,
)
from medimg.curation.adjudication_values import Values, canonical, known_values, refuse_unknown
from medimg.curation.readings import Columns, read_readings
from medimg.curation.worklists import CASE, WORKLIST, code_of, in_own_order, write_worklist
from medimg.errors import ConfigError, DataError
from medimg.scoring.table import PATIENT_COLUMN

DECIDED, TABLE, ANSWER = "decided_by", "labels.csv", "answer"
_SHOWN = 10
_LETTERS = tuple(first + second for first in ("", *ascii_uppercase) for second in ascii_uppercase)


@dataclass(frozen=True, slots=True)
class Third:
    """How the third reader is asked.

    Attributes:
        name: Their name.
        seed: Draws the order of cases and answers.
        hide_answers: Do not show what the others said.
    """

    name: str
    seed: int = 0
    hide_answers: bool = False


def gather_labels(
    tables: Sequence[Path], columns: Columns, values: Values | None = None
) -> tuple[dict[str, dict[str, dict[str, str]]], dict[str, str]]:
    """Join tables of readings.

    Args:
        tables: Tables with a row a case and reader; a row without any answer was not read.
        columns: Which column holds what.
        values: Values of labels, where they are named.

    Returns:
        What each reader said, by case, reader and label; and the patient of each case.

    Raises:
        DataError: If a table cannot be read, one reader says two things of a case, or an answer is none of the
            values.
    """
    said: dict[str, dict[str, dict[str, str]]] = {}
    patients: dict[str, str] = {}
    for table in tables:
        read = read_readings(table, columns)
        patients |= dict(zip(read.cases, read.patients, strict=True))
        for at, case in enumerate(read.cases):
            for place, reader in enumerate(read.readers):
                given = zip(read.labels, read.values[at, place], strict=True)
                answer = {label: read.text(label, float(value)) for label, value in given}
                named = {label: one for label, one in (values or {}).items() if one}
                refuse_unknown(f"{table}, reader {reader}", {case: answer}, named)
                if any(answer.values()) and said.setdefault(case, {}).setdefault(reader, answer) != answer:
                    raise DataError(
                        f"{table}: reader {reader} says of case {case} what no other table says. Keep one reading."
                    )
    labels = {tuple(answer) for one in said.values() for answer in one.values()}
    if len(labels) != 1:
        raise DataError(
            f"expected tables with answers to the same labels, found {sorted(labels) or 'no answer'}. Name the labels "
            "that all have (--labels)."
        )
    return said, patients


def label_conflicts(
    tables: Sequence[Path],
    rule: Rule,
    third: Third,
    columns: Columns | None = None,
    values: Values | None = None,
) -> dict[str, Any]:
    """Find the cases whose readers are in conflict.

    Args:
        tables: Tables of readings.
        rule: When they are.
        third: Who decides, and how they are asked.
        columns: Which column holds what.
        values: Values of labels, where they are named.

    Returns:
        All that `apply_labels` needs: readings by file, and of each case the answers and the reasons.

    Raises:
        ConfigError: If the rule is for masks, or the third reader is one of the first.
        DataError: If tables cannot be used, or hold an answer that is none of the values.
    """
    if rule.dice is not None or rule.lesion:
        raise ConfigError(
            f"--rule {rule.text}: dice and lesion are for masks. Labels have differs and distance>D."
        )
    said, patients = gather_labels(tables, columns or Columns(), values)
    refuse_third(third.name, {reader for one in said.values() for reader in one}, third.seed)
    cases = []
    for case in sorted(patients):
        answers = letters(case, said.get(case, {}), third.seed)
        labels = next(iter(answers.values()))["labels"] if answers else {}
        reasons = {
            label: reason
            for label in labels
            if (reason := _reason([one["labels"][label] for one in answers.values()], rule))
        }
        cases.append({"case_id": case, "patient_id": patients[case], "answers": answers, "conflict": reasons})
    return {
        "kind": "labels",
        "rule": rule.text,
        "third": third.name,
        "seed": third.seed,
        "values": {label: list(one) for label, one in (values or {}).items() if one},
        "readings": [evidence(table) for table in tables],
        "cases": cases,
    }


def refuse_third(third: str, readers: set[str], seed: int) -> None:
    """Refuse a third reader who is one of the first two.

    Raises:
        ConfigError: If so.
    """
    if third in readers or code_of(third, seed) in readers or not third:
        raise ConfigError(f"--third {third}: has read cases as one of the first two. Name another reader.")


def letters(case: str, answers: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Call the readers of a case A, B and so on, in an order drawn for each case."""
    readers = sorted(answers)
    random.Random(f"letters {seed} {case}").shuffle(readers)
    return {
        letter: {"reader": reader, "labels": answers[reader]}
        for letter, reader in zip(_LETTERS, readers, strict=False)
    }


def _reason(texts: Sequence[str], rule: Rule) -> str:
    numbers = _numbers(texts)
    reasons = [rule.of_labels(a, b) for a, b in combinations(numbers, 2)]
    return next((one for one in reasons if one), "")


def _numbers(texts: Sequence[str]) -> list[float]:
    """Values to compare: numbers, or infinitely distant places for words."""
    try:
        return [float(text) if text else math.nan for text in texts]
    except ValueError:
        words = sorted(set(texts))
        return [math.nan if not text else 1e9 * words.index(text) for text in texts]


def agreed(texts: Sequence[str]) -> str:
    """The value of readers who are not in conflict: theirs, or the lower middle one of grades that differ.

    Example:
        >>> agreed(["2", "2"]), agreed(["4", "3"])
        ('2', '3')
    """
    given = sorted((text for text in texts if text), key=lambda text: (_numbers([text])[0], text))
    return given[(len(given) - 1) // 2] if given else ""


def unread(content: Mapping[str, Any]) -> list[str]:
    """Cases with fewer than two readings."""
    return [one["case_id"] for one in content["cases"] if len(one["answers"]) < 2]


def count_words(content: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """How often readers gave each value of the labels that have words; a misspelt one stands out by its number.

    Args:
        content: What `label_conflicts` found; masks have no words.
    """
    if content["kind"] != "labels":
        return {}
    answers = [answer["labels"] for one in content["cases"] for answer in one["answers"].values()]
    words = [label for label, values in known_values(content["cases"], {}).items() if values]
    counts = {label: Counter(answer[label] for answer in answers if answer.get(label)) for label in words}
    return {label: dict(sorted(found.items())) for label, found in counts.items()}


def in_conflict(content: Mapping[str, Any]) -> dict[str, Any]:
    """Cases in conflict, by name."""
    return {one["case_id"]: one for one in content["cases"] if one["conflict"] and len(one["answers"]) > 1}


def write_label_conflicts(
    out: Path, content: dict[str, Any], third: Third, *, overwrite: bool = False
) -> bool:
    """Write the conflicts, and the third reader's worklist in a folder of its own.

    Args:
        out: Folder; ``conflicts.json`` names readers and stays with whoever plans.
        content: What `label_conflicts` found.
        third: Who decides, and how they are asked.
        overwrite: Replace an earlier folder.

    Returns:
        Whether anything changed.

    Raises:
        DataError: If the folder holds something else.
        ResourceError: If a file cannot be written.
    """
    conflicts = in_conflict(content)
    order, code = in_own_order(list(conflicts), third.name, third.seed), code_of(third.name, third.seed)
    answers = [one["answers"] for one in conflicts.values()]
    labels = list(answers[0]["A"]["labels"]) if answers else []
    columns: dict[str, list[str]] = {label: [""] * len(order) for label in labels}
    shown = [] if third.hide_answers else sorted({letter for one in answers for letter in one})
    for label in labels:
        for letter in shown:
            said = [conflicts[case]["answers"].get(letter, {"labels": {}})["labels"] for case in order]
            columns[f"{ANSWER}_{letter}_{label}"] = [one.get(label, "") for one in said]

    def make(folder: Path) -> None:
        write_json(folder / CONFLICTS, content)
        write_worklist(folder / code / WORKLIST, code, order, columns)

    return write_folder(out, make, overwrite=overwrite)


def apply_labels(
    content: dict[str, Any], decisions: Path, out: Path, *, leave_out: bool = False, overwrite: bool = False
) -> bool:
    """Merge agreement and decisions into one table, ready as labels for training, with its trail.

    Args:
        content: What `label_conflicts` found.
        decisions: The third reader's worklist, filled in.
        out: Folder for ``labels.csv`` and ``trail.json``.
        leave_out: Leave cases out that nobody decided or fewer than two read, instead of refusing.
        overwrite: Replace other content of the folder.

    Returns:
        Whether anything changed.

    Raises:
        DataError: If a reading has changed, cases are undecided, decided twice, or not in conflict, or a decision is
            none of the values of its label: those that are named, or else the words of the first readers.
    """
    for one in content["readings"]:
        check_evidence(one)
    conflicts = in_conflict(content)
    decided = read_decisions(decisions, conflicts)
    refuse_unknown(str(decisions), decided, known_values(content["cases"], content.get("values", {})))
    missing = [
        case
        for case, one in conflicts.items()
        if any(not decided.get(case, {}).get(label, "") for label in one["conflict"])
    ]
    absent = refuse_missing(missing, unread(content), leave_out=leave_out)
    rows, trail = [], []
    for one in (one for one in content["cases"] if one["case_id"] not in absent):
        said = [answer["labels"] for answer in one["answers"].values()]
        third = decided.get(one["case_id"], {})
        by = {label: "third" if third.get(label) else "agreement" for label in said[0]}
        values = {label: third.get(label) or agreed([text[label] for text in said]) for label in said[0]}
        how = "adjudication" if "third" in by.values() else "agreement"
        rows.append({CASE: one["case_id"], PATIENT_COLUMN: one["patient_id"], **values, DECIDED: how})
        trail.append({**one, "decision": values, "decided_by": by})
    if not rows:
        raise DataError(f"{decisions}: no case is decided. Have cases read and decided first.")
    facts = {
        **{key: value for key, value in content.items() if key != "cases"},
        "decisions": evidence(decisions),
        "left_out": sorted(absent),
        "agreement_of_grades_that_differ": "lower median",
        "cases": trail,
    }

    def make(folder: Path) -> None:
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        write_json(folder / TRAIL, facts)

    return write_folder(out, make, overwrite=overwrite)


def refuse_missing(missing: Sequence[str], unread_cases: Sequence[str], *, leave_out: bool) -> set[str]:
    """The cases without a decision, refused unless they may be left out.

    Raises:
        DataError: If there are such cases, with their names.
    """
    if (missing or unread_cases) and not leave_out:
        raise DataError(
            f"expected a decision for every case, {len(missing)} in conflict lack one ({_some(missing)}), and "
            f"{len(unread_cases)} have fewer than two readings ({_some(unread_cases)}). Nothing was written. Have them "
            "decided, or leave them out with --leave_out."
        )
    return {*missing, *unread_cases}


def _some(names: Sequence[str]) -> str:
    return (
        ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        or "none"
    )


def read_decisions(path: Path, conflicts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Read a worklist that was filled in, answers of others left out.

    Raises:
        DataError: If it cannot be read, decides a case twice, or one that is not in conflict.
    """
    decided: dict[str, dict[str, str]] = {}
    twice, other = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as the third reader's worklist ({error}). Check the path."
        ) from error
    for row in rows:
        case = (row.get(CASE) or "").strip()
        given = {key: canonical(value) for key, value in row.items() if key and value and value.strip()}
        given = {key: value for key, value in given.items() if not key.startswith(f"{ANSWER}_")}
        if case not in conflicts:
            other.append(case)
        elif decided.setdefault(case, given) != given:
            twice.append(case)
    if twice or other:
        raise DataError(
            f"{path}: expected each case in conflict once, found decided twice: {_some(twice)}; not in conflict: "
            f"{_some(other)}. Nothing was written. Mend the worklist."
        )
    return decided

"""Coded concepts: kept where pydicom knows the code, with the meaning from there and never from the file."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

_KIND = re.compile(r" \([a-z /]+\)$")  # SNOMED ends a full name with its branch: (body structure)
_OLD_SNOMED = ("SRT", "SNM3", "99SDM")


@cache
def _meanings(scheme: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names: Mapping[str, Any] = concepts.get(scheme, {})
    for values in names.values():  # {code: (meaning, context groups)}
        found.update({code: str(entry[0]) for code, entry in values.items()})
    return found


def meaning_of(scheme: str, code: str) -> str | None:
    """Return the meaning of a standard code, ``None`` if the code is not known.

    Args:
        scheme: Coding scheme, such as ``SCT``, ``DCM``, ``UCUM``, or ``SRT`` for old SNOMED.
        code: The code.

    Example:
        >>> meaning_of("SCT", "10200004"), meaning_of("SRT", "T-62000"), meaning_of("99LOCAL", "Doe")
        ('Liver structure', 'Liver structure', None)
    """
    if scheme in _OLD_SNOMED:
        scheme, code = "SCT", mapping["SRT"].get(code, "")
    meaning = _meanings(scheme).get(code)
    return None if meaning is None else _KIND.sub("", meaning)


@cache
def known_texts() -> frozenset[str]:
    """Every standard code, scheme and meaning in lower case, as they may stand in a cleaned file."""
    old = {scheme.lower() for scheme in _OLD_SNOMED} | {code.lower() for code in mapping["SRT"]}
    texts = set(old)
    for scheme in concepts:
        texts.add(scheme.lower())
        for code, meaning in _meanings(scheme).items():
            texts |= {code.lower(), _KIND.sub("", meaning)[:64].lower()}
    return frozenset(texts)


def clean_code(item: Dataset) -> Dataset | None:
    """Return a code item with its code, scheme and the known meaning, or ``None`` where the code is not standard.

    Example:
        >>> item = Dataset()
        >>> item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "10200004", "SCT", "liver of J. Doe"
        >>> clean_code(item).CodeMeaning
        'Liver structure'
    """
    scheme, code = (str(item.get(name, "")).strip(" \0") for name in ("CodingSchemeDesignator", "CodeValue"))
    meaning = meaning_of(scheme, code)
    if meaning is None:
        return None
    cleaned = Dataset()
    cleaned.CodeValue, cleaned.CodingSchemeDesignator, cleaned.CodeMeaning = code, scheme, meaning[:64]
    return cleaned

"""The project's secret key, and what is derived from it: new UIDs, patient ids, names and date shifts."""

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from medimg.errors import ConfigError

_LEAST_BYTES = 16
_UUID_ROOT = "2.25."  # UIDs made of a 128-bit number, PS3.5 annex B.2
_CHECK_BITS = 40
_NAME = re.compile(r"[A-Z]([0-9a-f]{16})([0-9a-f]{8})")
_LONGEST_SHIFT = 3650


@dataclass(frozen=True, slots=True)
class Secret:
    """Keyed mappings: the same key maps alike on every machine, and nothing can be mapped back without it.

    New values hold a keyed check, so that values that were made with this key are recognised and stay as they
    are: a second run changes nothing.

    Attributes:
        key: Secret bytes; never shown, not even by ``repr``.
    """

    key: bytes = field(repr=False)

    def digest(self, kind: str, text: str) -> bytes:
        """32 bytes that depend on the key, on what is hashed, and on its kind (HMAC-SHA256)."""
        content = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.digest(self.key, content, hashlib.sha256)

    def uid(self, uid: str) -> str:
        """Map a UID to a new one of 44 characters at most.

        Example:
            >>> secret = Secret(bytes(16))
            >>> new = secret.uid("1.2.840.1")
            >>> new == secret.uid("1.2.840.1") == secret.uid(new), new.startswith("2.25."), len(new) <= 44
            (True, True, True)
        """
        if self._is_own_uid(uid):
            return uid
        return self._checked_uid(int.from_bytes(self.digest("uid", uid)[:11]))

    def _checked_uid(self, number: int) -> str:
        check = int.from_bytes(self.digest("uid check", str(number))[:5])
        return f"{_UUID_ROOT}{number << _CHECK_BITS | check}"

    def _is_own_uid(self, uid: str) -> bool:
        digits = uid.removeprefix(_UUID_ROOT)
        if digits == uid or not digits.isdecimal() or len(digits) > 39:
            return False
        return self._checked_uid(int(digits) >> _CHECK_BITS) == uid

    def name(self, letter: str, text: str) -> str:
        """Map a patient id (``P``), or a part of a path (``N``), to a letter and 24 hexadecimal digits.

        Example:
            >>> name = Secret(bytes(16)).name("P", "Doe 17")
            >>> len(name), Secret(bytes(16)).name("P", name) == name, Secret(b"1" * 16).name("P", name) == name
            (25, True, False)
        """
        if self.is_own_name(letter, text):
            return text
        return self._checked_name(letter, self.digest(f"name {letter}", text).hex()[:16])

    def is_own_name(self, letter: str, text: str) -> bool:
        """Whether ``name`` made this text with this key."""
        found = _NAME.fullmatch(text)
        return found is not None and self._checked_name(letter, found[1]) == text

    def _checked_name(self, letter: str, number: str) -> str:
        return f"{letter}{number}{self.digest(f'check {letter}', number).hex()[:8]}"

    def shift_days(self, patient: str) -> int:
        """Days by which all dates of one patient move, -3650 to -1: never into the future.

        Example:
            >>> -3650 <= Secret(bytes(16)).shift_days("P1") <= -1
            True
        """
        return -1 - int.from_bytes(self.digest("shift", patient)[:8]) % _LONGEST_SHIFT


def read_key(path: Path) -> Secret:
    """Read the key of a project.

    Raises:
        ConfigError: If the file is missing, holds fewer than 16 bytes, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(1 << 16).strip()
    except FileNotFoundError:
        raise ConfigError(
            f"--key_file {path}: there is no such file. Give the project's key, or add --new_key to make one."
        ) from None
    except OSError as error:
        raise ConfigError(f"--key_file {path}: cannot be read ({error.strerror}).") from error
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(
            f"--key_file {path}: others may read it (mode {mode & 0o777:o}), and the key undoes the work. "
            f"Run `chmod 600 {path}`, and take a new key if it may have been seen."
        )
    if len(content) < _LEAST_BYTES:
        raise ConfigError(
            f"--key_file {path}: expected {_LEAST_BYTES} bytes or more, found {len(content)}. A short key can be "
            "guessed; make one with --new_key."
        )
    return Secret(content)


def make_key(path: Path) -> Secret:
    """Write a new random key, readable by its owner alone.

    Raises:
        ConfigError: If the file is there already, or cannot be written.
    """
    content = secrets.token_hex(32).encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"--new_key: {path} is there already. Leave --new_key away to use it, or name another file."
        ) from None
    except OSError as error:
        raise ConfigError(f"--key_file {path}: cannot be written ({error.strerror}).") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content + b"\n")
    return Secret(content)

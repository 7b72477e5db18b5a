"""Faults of a submission, gathered so that a user sees all of them at once."""

from medimg.errors import DataError

_SHOWN = 20


class Faults:
    """Counts faults by kind and keeps the first of each kind; memory stays flat however many there are.

    Example:
        >>> faults = Faults()
        >>> faults.add("missing rows", "case_1")
        >>> print(faults.text("out.csv"))
        out.csv: 1 fault
          missing rows (1):
            case_1
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._shown: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, kind: str, example: str) -> None:
        """Note a fault.

        Args:
            kind: What is wrong, in words that fit many cases.
            example: Which row, file or case, and what was found there.
        """
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown = self._shown.setdefault(kind, [])
        if len(shown) < _SHOWN:
            shown.append(example)

    def text(self, what: str) -> str:
        """All kinds with their counts, the first 20 faults of each.

        Args:
            what: What has the faults.
        """
        total = sum(self._counts.values())
        lines = [f"{what}: {total} fault{'s' if total > 1 else ''}"]
        for kind, count in self._counts.items():
            lines += [f"  {kind} ({count}):", *(f"    {example}" for example in self._shown[kind])]
            if count > _SHOWN:
                lines.append(f"    and {count - _SHOWN} more")
        return "\n".join(lines)

    def raise_if_any(self, what: str) -> None:
        """Refuse what has faults.

        Raises:
            DataError: Lists the faults.
        """
        if self:
            raise DataError(f"{self.text(what)}\nNothing was written. Mend these, then submit again.")

"""A loader that can say which case a killed worker was reading."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from medimg.errors import ResourceError

_ID_BYTES = 256


class CurrentCase:
    """A board in shared memory on which each worker writes the case it begins to read.

    Args:
        num_workers: Workers of the loader.
    """

    def __init__(self, num_workers: int) -> None:
        self._board = torch.zeros(max(1, num_workers), _ID_BYTES, dtype=torch.uint8)
        self._board.share_memory_()  # type: ignore[no-untyped-call]

    def note(self, case_id: str) -> None:
        """Write down the case that this worker reads next."""
        info = get_worker_info()
        text = case_id.encode()[:_ID_BYTES]
        row = self._board[info.id if info is not None else 0]
        row.zero_()
        row[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def read(self) -> list[str]:
        """The case that each worker read last."""
        rows = (bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in self._board)
        return [case for case in rows if case]


class WatchedLoader(DataLoader[Any]):
    """A DataLoader whose error names the cases that its workers were reading.

    Args:
        dataset: See ``DataLoader``.
        current: The board that the data set writes on.
        **options: Passed on to ``DataLoader``.
    """

    def __init__(self, dataset: Any, *, current: CurrentCase, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._current = current

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches; a worker that was killed ends the run with the cases it may have died on.

        Raises:
            ResourceError: If a worker was killed from outside, by lack of memory most often.
        """
        batches = super().__iter__()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise ResourceError(
                    f"a data worker was killed while reading one of {', '.join(self._current.read())}. Most often the "
                    "memory ran out: lower data.init_args.num_workers or the patch size. "
                    f"({str(error).splitlines()[0]})"
                ) from error
            yield batch

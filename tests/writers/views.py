"""Cases for self-supervision, as the data modules hand them over: striped one way or the other, with noise."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader

from medimg.datamodules.cases import CaseDataModule, Ready, SplitOptions
from medimg.preparation.splits import Split
from medimg.records import ImageIndex, Record


class ViewData(CaseDataModule):
    """Two kinds of pictures (1, S, S), or volumes (1, S, S, S): the direction of the stripes is the label.

    Args:
        cases: Cases in all; every third validates.
        batch_size: Cases in a batch.
        size: Edge S.
        views: Noisy copies of each training case; ``None`` hands over no sizes.
        volumes: Volumes instead of pictures.
    """

    def __init__(self, cases=24, *, batch_size=8, size=16, views=2, volumes=False):
        super().__init__(Path(), fold=0, split=SplitOptions(), num_workers=0, predict_root=None)
        self.cases, self.batch_size, self.size, self.views, self.volumes = (
            cases,
            batch_size,
            size,
            views,
            volumes,
        )

    def _read(self):
        names = [f"c{number:03}" for number in range(self.cases)]
        split = Split(
            tuple(n for n in names if int(n[1:]) % 3), tuple(n for n in names if int(n[1:]) % 3 == 0)
        )
        return Ready("stripes", split, ["across"])

    @property
    def _test_ids(self):
        return ()

    @property
    def index(self):
        records = tuple(
            Record(f"c{n:03}", f"p{n:03}", (), labels={"across": float(n % 2)}) for n in range(self.cases)
        )
        return ImageIndex("stripes", Path(), "binary", ("across",), records)

    def image(self, name, seed=0):
        """One noisy picture of a case."""
        number = int(name[1:])
        fixed, free = (torch.Generator().manual_seed(one) for one in (number, 1000 * (seed + 1) + number))
        phase, pace = torch.rand(2, generator=fixed).tolist()
        line = torch.sin(torch.arange(self.size) * (0.8 + 0.4 * pace) + 6 * phase)
        stripes = line.expand(self.size, self.size)
        stripes = stripes.T if number % 2 else stripes
        if self.volumes:
            stripes = stripes.expand(self.size, self.size, self.size)
        return (stripes + 0.3 * torch.randn(stripes.shape, generator=free))[None]

    def batch(self, names, views=None):
        """The batch of some cases."""
        copies = views or 1
        batch = {
            "image": torch.stack([self.image(name, view) for name in names for view in range(copies)]),
            "label": torch.tensor([[float(int(name[1:]) % 2)] for name in names]),
            "weight": torch.ones(len(names)),
            "case_id": list(names),
            "patient_id": [name.replace("c", "p") for name in names],
        }
        return batch if views is None else {**batch, "sizes": torch.full((len(names),), views)}

    def predict_dataloader(self):
        """The cases that a fit would validate."""
        return self._loader_of([f"c{number:03}" for number in range(0, self.cases, 3)])

    def _loader_of(self, names, views=None):
        rank, world = self._place()
        own = list(names)[rank::world]
        parts = [own[start : start + self.batch_size] for start in range(0, len(own), self.batch_size)]
        return DataLoader([self.batch(part, views) for part in parts], batch_size=None)

    def scored_cases(self, case_ids):
        return self._loader_of(case_ids)

    def train_dataloader(self):
        return self._loader_of(self.split.train, self.views)

    def val_dataloader(self):
        return self._loader_of(self.split.val)

    test_dataloader = val_dataloader

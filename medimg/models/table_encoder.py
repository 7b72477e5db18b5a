"""A row of a table as a vector: numbers and categories, any of which may be missing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medimg.datasets.fusion import FIRST_VALUE
from medimg.errors import ConfigError, DataError


class TableEncoder(nn.Module):
    """Numbers and categories of a case, through two layers.

    A number is standardised by mean and spread of the training cases, which `fit` counts and a checkpoint keeps;
    where it is missing a learned value takes its place, and a flag says so. Missing and unknown categories have
    vectors of their own.

    Args:
        numeric: Columns of numbers, as the data set names them.
        categorical: By column the values that are told apart.
        width: Length of the vector that comes out.
        embedding: Length of the vector of each category.
        drop_rate: Share of values dropped between the layers while training, in [0, 1).

    Raises:
        ConfigError: If there is no column, or a name stands twice.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        numeric: Sequence[str] = (),
        categorical: dict[str, Sequence[str]] | None = None,
        *,
        width: int = 64,
        embedding: int = 8,
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.numeric = tuple(numeric)
        self.categorical = {name: tuple(values) for name, values in (categorical or {}).items()}
        names = [*self.numeric, *self.categorical]
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"TableEncoder: expected one column or more, each once, found {', '.join(names) or 'none'}"
            )
        count = len(self.numeric)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))
        self.missing = nn.Parameter(torch.zeros(count))
        self.embeddings = nn.ModuleList(
            nn.Embedding(FIRST_VALUE + len(values), embedding) for values in self.categorical.values()
        )
        self.num_features = width
        self.layers = nn.Sequential(
            nn.Linear(2 * count + embedding * len(self.categorical), width),
            nn.GELU(),
            nn.Dropout(drop_rate),
            nn.Linear(width, width),
            nn.GELU(),
        )

    def fit(self, table: Tensor) -> None:
        """Count mean and spread of the numbers.

        Args:
            table: Numbers of the training cases (N, P), NaN where unknown.

        Raises:
            DataError: If no training case has a value of a column.
        """
        if not self.numeric:
            return
        known = ~table.isnan()
        count = known.sum(0)
        if empty := [name for name, some in zip(self.numeric, count.tolist(), strict=True) if not some]:
            raise DataError(
                f"no training case has a value of {', '.join(empty)}: nothing is learned from it. Remove the column "
                "from the data's and the network's numeric"
            )
        table = table.double()
        mean = table.nanmean(0)
        spread = (torch.where(known, table - mean, 0.0).square().sum(0) / count).sqrt()
        self.mean.copy_(mean)
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))  # a constant stays 0

    def features(self, table: Tensor, category: Tensor | None = None) -> Tensor:
        """Vectors (B, width) of rows.

        Args:
            table: Numbers (B, P), in the order of ``numeric``, NaN where missing.
            category: Codes (B, Q), in the order of ``categorical``: 0 missing, 1 no named value, then the named ones;
                ``None``: all missing.

        Raises:
            ConfigError: If the numbers of columns are others.
        """
        if category is None:
            category = torch.zeros(
                table.shape[0], len(self.categorical), dtype=torch.int64, device=table.device
            )
        if (table.shape[1], category.shape[1]) != (len(self.numeric), len(self.categorical)):
            raise ConfigError(
                f"the table encoder takes {len(self.numeric)} numbers and {len(self.categorical)} categories, and the "
                f"data give {table.shape[1]} and {category.shape[1]}: name the same columns in both"
            )
        missing = table.isnan()
        values = torch.where(missing, self.missing, (table.nan_to_num() - self.mean) / self.spread)
        embedded = [layer(category[:, at]) for at, layer in enumerate(self.embeddings)]
        found: Tensor = self.layers(torch.cat([values, missing.to(values.dtype), *embedded], 1))
        return found

    def example(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Two rows, the second with missing values, by the names of the arguments."""
        table = torch.randn(2, len(self.numeric), generator=generator)
        table[1, ::2] = torch.nan
        found = {"table": table}
        if self.categorical:
            found["category"] = torch.tensor(
                [[FIRST_VALUE] * len(self.categorical), [0] * len(self.categorical)]
            )
        return found

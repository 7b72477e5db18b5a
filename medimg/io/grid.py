"""Where the voxels of a volume lie in the patient."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Shape and place of a volume.

    Attributes:
        shape: (D, H, W), D the last axis of the file.
        affine: Maps indices of the file (i, j, k) = (w, h, d) to millimetres, RAS+, shape (4, 4).
        oriented: False where the file states no orientation, so that left and right are a guess.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    oriented: bool = True

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (D, H, W).

        Example:
            >>> Grid((2, 3, 4), np.diag([1.0, 1.0, 5.0, 1.0])).spacing_mm
            (5.0, 1.0, 1.0)
        """
        width, height, depth = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return depth, height, width

    @property
    def orientation(self) -> str:
        """Direction of growing W, H and D index, one letter each, such as ``"RAS"``.

        Example:
            >>> Grid((2, 3, 4), np.diag([-1.0, 1.0, 5.0, 1.0])).orientation
            'LAS'
        """
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        letters = ["?", "?", "?"]
        for _ in range(3):
            # The clearest axis is named first, so that an oblique one never takes its letter.
            world, index = np.unravel_index(int(np.nanargmax(np.abs(axes))), (3, 3))
            letters[int(index)] = ("LR", "PA", "IS")[int(world)][int(axes[world, index] > 0)]
            axes[world, :] = 0.0
            axes[:, index] = 0.0
        return "".join(letters)

    def corners_mm(self) -> NDArray[np.float64]:
        """Return the centres of the eight corner voxels in millimetres, shape (8, 3)."""
        depth, height, width = self.shape
        indices = np.array(
            list(product((0, width - 1), (0, height - 1), (0, depth - 1))), np.float64
        )  # (8, 3) as (i, j, k)
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def corner_distance_mm(self, other: "Grid") -> float:
        """Return how far apart the two grids put the corner where they differ most.

        Corners tell shift, rotation and spacing in one number that a person can judge.

        Args:
            other: Grid to compare with; corners of the same index are compared, whatever the shapes.

        Example:
            >>> shifted = np.eye(4)
            >>> shifted[0, 3] = 0.5
            >>> Grid((2, 2, 2), np.eye(4)).corner_distance_mm(Grid((2, 2, 2), shifted))
            0.5
        """
        return float(np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max())

"""Keys of a batch, and the letters that docstrings use for shapes.

B batch, C channel, K class or region, D H W depth, height and width, N cases, F folds.
A volume is (D, H, W) with D the last axis of its file.
"""

IGNORE_INDEX = 255  # of a voxel whose class is not known, in masks of class indices and of regions

IMAGE = "image"  # (B, C, D, H, W) float
MASK = "mask"  # (B, 1, D, H, W) label values or (B, K, D, H, W) regions
LABEL = "label"  # (B,) or (B, K)
CASE_ID = "case_id"  # list of B strings
IMAGE_LABEL = "image_label"  # (M, K) labels of the single images of grouped cases, NaN where unknown
IMAGE_ID = "image_id"  # list of M case ids of the single images of grouped cases, in the order of `image`
PATIENT_ID = "patient_id"  # list of B strings
SPACING = "spacing"  # (B, 3) millimetres along D, H, W
SEED = "seed"  # (B,) int64, fixes every random choice made for the sample
WEIGHT = "weight"  # (B,)
REFERENCE = "reference"  # list of B label maps (D, H, W) on the grids of their files
GEOMETRY = "geometry"  # list of B ways back from the prepared grid to the file's
SCHEME = "scheme"  # list of B label schemes
SOURCE = "source"  # list of B tuples of image files; a prediction lies on the first, or on their series

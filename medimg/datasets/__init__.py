"""Readers of public data set layouts: files on disk to Records."""

from medimg.datasets.recognise import index_dataset

__all__ = ["index_dataset"]

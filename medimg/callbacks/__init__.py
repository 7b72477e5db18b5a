"""What happens around a run: safe checkpoints, orderly stops, checks, pictures and predictions on disk."""

from medimg.callbacks.checkpoint_io import SafeCheckpointIO
from medimg.callbacks.data_wait import DataWait
from medimg.callbacks.encoder_file import EncoderWeights
from medimg.callbacks.feature_writer import FeatureWriter
from medimg.callbacks.finite_loss import FiniteLoss
from medimg.callbacks.graceful_stop import GracefulStop
from medimg.callbacks.label_curves import LabelCurves
from medimg.callbacks.prediction_writer import PredictionWriter
from medimg.callbacks.probes import KNNProbe, LinearProbe
from medimg.callbacks.progress import NarrowBar, ProgressLines
from medimg.callbacks.rank_watch import RankWatch
from medimg.callbacks.run_record import RunRecord
from medimg.callbacks.sample_pictures import SamplePictures

__all__ = [
    "DataWait",
    "EncoderWeights",
    "FeatureWriter",
    "FiniteLoss",
    "GracefulStop",
    "KNNProbe",
    "LabelCurves",
    "LinearProbe",
    "NarrowBar",
    "PredictionWriter",
    "ProgressLines",
    "RankWatch",
    "RunRecord",
    "SafeCheckpointIO",
    "SamplePictures",
]

"""The offline trainer: configuration, clips, the unrolled step, the loop, checkpoints."""

from vlocnetpp.training.checkpoint import CheckpointError, load_checkpoint
from vlocnetpp.training.config import TrainConfig, load_config
from vlocnetpp.training.datasets import TrainingError
from vlocnetpp.training.loop import train

__all__ = ["CheckpointError", "TrainConfig", "TrainingError", "load_checkpoint", "load_config", "train"]

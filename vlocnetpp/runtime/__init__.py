"""What the robot needs: the model file, the ring buffer of past features, the streaming localizer.

Torch and numpy only: no network code, no trainer, no ROS.
"""

from vlocnetpp.runtime.localizer import CameraMismatchError, Estimate, ImageError, Localizer
from vlocnetpp.runtime.model_file import Metadata, Model, ModelFileError, load_model, read_metadata
from vlocnetpp.runtime.ring_buffer import RingBuffer

__all__ = [
    "CameraMismatchError",
    "Estimate",
    "ImageError",
    "Localizer",
    "Metadata",
    "Model",
    "ModelFileError",
    "RingBuffer",
    "load_model",
    "read_metadata",
]

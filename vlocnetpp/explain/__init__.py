"""What a model's pose rests on: activation maps, the embedding of its features, trajectories in the scene."""

from vlocnetpp.explain.activation import SCALARS, activation_maps, grad_cam_plus_plus
from vlocnetpp.explain.embedding import Embedding, embed
from vlocnetpp.explain.errors import ExplainError
from vlocnetpp.explain.explain import Options, explain
from vlocnetpp.explain.scene import Cloud, fuse, write_ply
from vlocnetpp.explain.streamed_features import StreamedFeatures, stream_features

__all__ = [
    "SCALARS",
    "Cloud",
    "Embedding",
    "ExplainError",
    "Options",
    "StreamedFeatures",
    "activation_maps",
    "embed",
    "explain",
    "fuse",
    "grad_cam_plus_plus",
    "stream_features",
    "write_ply",
]

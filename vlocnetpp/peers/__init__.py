"""Baselines without a network, printed beside every result: for localization and for odometry."""

from vlocnetpp.peers.active_search import ACTIVE_SEARCH
from vlocnetpp.peers.direct_alignment import DIRECT_ALIGNMENT
from vlocnetpp.peers.image_retrieval import INTERPOLATION, NEAREST
from vlocnetpp.peers.mean_pose import MEAN_POSE
from vlocnetpp.peers.nearest_training_pose import NEAREST_TRAINING_POSE
from vlocnetpp.peers.odometry import CONSTANT_VELOCITY, NO_MOTION, OdometryPeer, run_odometry_peer
from vlocnetpp.peers.orb_odometry import ORB_ESSENTIAL
from vlocnetpp.peers.orb_pnp import ORB_PNP
from vlocnetpp.peers.peer import Answers, Peer, PeerMap, build_map, locate_frames, run_peer
from vlocnetpp.peers.score_forest import SCORE_FOREST
from vlocnetpp.peers.thumbnail_retrieval import THUMBNAIL_RETRIEVAL

PEERS = (
    *(MEAN_POSE, THUMBNAIL_RETRIEVAL, NEAREST, INTERPOLATION),
    *(ORB_PNP, ACTIVE_SEARCH, SCORE_FOREST, NEAREST_TRAINING_POSE),
)
"""In the order of a benchmark table."""
ODOMETRY_PEERS = (NO_MOTION, ORB_ESSENTIAL, DIRECT_ALIGNMENT, CONSTANT_VELOCITY)
"""In the order of a benchmark table."""

__all__ = [
    "MEAN_POSE",
    "NEAREST_TRAINING_POSE",
    "ODOMETRY_PEERS",
    "ORB_PNP",
    "PEERS",
    "THUMBNAIL_RETRIEVAL",
    "Answers",
    "OdometryPeer",
    "Peer",
    "PeerMap",
    "build_map",
    "locate_frames",
    "run_odometry_peer",
    "run_peer",
]

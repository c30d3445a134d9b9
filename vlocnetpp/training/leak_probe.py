"""The only place where a true pose can replace a prediction: between two steps, to measure the effect of such a leak.

The 2018 baseline `vlocnet` sees a pose of the frame before. A robot has only the network's own; public
reimplementations use the ground truth, and reach errors near the paper's only then. `TrainConfig.leak_probe` does the
same, to show the gap. The step has no place for a truth: it is the state between two steps that is changed, by the
trainer and by the benchmark, and a run that was trained so is never exported.
"""

from __future__ import annotations

from torch import Tensor

from vlocnetpp.network import Network
from vlocnetpp.step import State


def remember_truth(network: Network, state: State, pose_B7: Tensor, posed_B: Tensor) -> State:
    """The state as if the network had predicted the true poses; its own predictions where `posed_B` is 0.

    A cold state stays cold: call it after a step. The state of a network without a pose in it is unchanged.
    """
    repeated = network.config.traits.own_answers
    return {
        name: pose_B7.where(posed_B[:, None] > 0, value) if repeated.get(name) == "pose_B7" else value
        for name, value in state.items()
    }

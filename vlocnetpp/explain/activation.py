"""Regression activation maps: which parts of the image an answered pose rests on, by Grad-CAM++.

Chattopadhay et al., Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional Networks, 2018.
A classifier is asked what raises the score of a class. A pose has no score, so the scalar here is how far the features
move the answer from the one that the head gives without any (its biases: the middle of the map): what raises it says
"here, and nowhere else".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.explain.errors import ExplainError
from vlocnetpp.geometry import normalize_quaternion, rotation_angle

LAST = "last"
"""The map that the head pools: the last convolution's, after its norm and activation."""


def position_evidence(head: nn.Module, features_BC: Tensor) -> Tensor:
    """(B,) distance of the answered position from that without features, in spreads of the training positions."""
    return torch.linalg.vector_norm(F.linear(features_BC, head.get_parameter("fc2.weight")), dim=1)


def rotation_evidence(head: nn.Module, features_BC: Tensor) -> Tensor:
    """(B,) angle between the answered rotation and that without features, radians."""
    without = head.get_parameter("fc3.bias")
    return rotation_angle(normalize_quaternion(without), normalize_quaternion(head.get_submodule("fc3")(features_BC)))


SCALARS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "position": position_evidence,
    "rotation": rotation_evidence,
}
"""What the maps explain, by name: from a pose head and its penultimate features (B, 1024) to (B,)."""


def grad_cam_plus_plus(activation_CHW: Tensor, gradient_CHW: Tensor) -> Tensor:
    """The map (H, W) of one image, 0 and above, from a layer's activations and the scalar's gradient by them.

    For Y = exp(S) the paper's weight of a pixel, g^2 / (2 g^2 + g^3 sum(A)), is 1 / (2 + g sum(A)), and only pixels
    with g > 0 count. It was derived for activations after a ReLU: where a layer has negative ones, they stay out of
    sum(A), so that the denominator is never below 2.
    """
    total_C11 = activation_CHW.clamp_min(0).sum(dim=(1, 2), keepdim=True)
    rising = gradient_CHW.clamp_min(0)
    weight_C11 = (rising / (2 + rising * total_C11)).sum(dim=(1, 2), keepdim=True)
    return (weight_C11 * activation_CHW).sum(dim=0).clamp_min(0)


def localization_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Every layer that the pose of a network with localization passes through and that has a map, first to last.

    Units are called as in the paper (`res4c`); they are taken at their end, before the next unit's norm. `shared`
    presets have segmentation's Res2 to Res4.
    """
    modules = {name: module for name, module in network.named_modules() if module is not None}
    segmentation = "segmentation."
    front = "front" if "front" in modules else f"{segmentation}front"
    res4 = "localization.res4" if "localization.res4" in modules else f"{segmentation}res4"
    stages = {"res2": f"{front}.res2", "res3": f"{front}.res3", "res4": res4, "res5": "localization.res5"}
    layers: dict[str, nn.Module] = {}
    for stage, path in stages.items():
        units = [modules[name] for name in modules if name.rpartition(".")[0] == f"{path}.blocks"]
        layers |= {f"{stage}{letter}": unit for letter, unit in zip("abcdef", units)}
    for fusion in ("semantic_fusion", "past_fusion"):
        if f"localization.{fusion}" in modules:
            layers[fusion] = modules[f"localization.{fusion}"]
    return {**layers, LAST: modules["localization.head.act"]}


def named_layers(network: nn.Module, names: Sequence[str], what: str) -> dict[str, nn.Module]:
    """The layers of these names. Raises ExplainError, naming `what` and the layers there are, for an unknown one."""
    known = localization_layers(network)
    for name in names:
        if name not in known:
            raise ExplainError(f"{what}: has no layer '{name}' on the way to its pose; there are {', '.join(known)}")
    return {name: known[name] for name in names}


def activation_maps(
    step: nn.Module, inputs: Sequence[Tensor | Sequence[Tensor]], layers: dict[str, nn.Module], scalar: str
) -> dict[str, Tensor]:
    """Grad-CAM++ of one frame at several layers, each (h, w) at its layer's resolution.

    Args:
        step: an `ExportedStep` with localization, in evaluation mode.
        inputs: the arguments of its call for a batch of one, the last of them the state.
        layers: from `named_layers`.
        scalar: a name in `SCALARS`.
    """
    head = step.get_submodule("network.localization.head")
    seen: dict[nn.Module, Tensor] = {}

    def remember(module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen[module] = output

    hooks = [module.register_forward_hook(remember) for module in (*layers.values(), head.get_submodule("elu"))]
    try:
        # The caller may stream in inference mode, whose tensors no gradient passes: they are copied out of it.
        with torch.inference_mode(False), torch.enable_grad():
            step(
                *(
                    value.clone() if isinstance(value, Tensor) else type(value)(*map(Tensor.clone, value))
                    for value in inputs
                )
            )
            score = SCALARS[scalar](head, seen[head.get_submodule("elu")]).sum()
            maps = [seen[module] for module in layers.values()]
            gradients = torch.autograd.grad(score, maps)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: grad_cam_plus_plus(map_.detach()[0], gradient[0])
        for name, map_, gradient in zip(layers, maps, gradients, strict=True)
    }

"""Regression activation maps: which parts of the image an answered pose rests on, by Grad-CAM++.

Chattopadhay et al., Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional Networks, 2018.
For a classifier, the scalar is the score of a class. A pose has no score, so the scalar is its distance from the middle
of the map: what raises it places the camera at this spot. Each network defines how it is computed from its layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlocnetpp.explain.errors import ExplainError
from vlocnetpp.network.contract import Explanation
from vlocnetpp.runtime import Model

SCALARS = ("position", "rotation")
"""What the maps explain; each network defines these scalars (`Network.explanation`)."""


def explanation_of(model: Model) -> Explanation:
    """The explanation of a rebuilt model's network. Raises ExplainError where it answers no pose."""
    network: Any = model.step.get_submodule("network")
    found: Explanation | None = network.explanation()
    if found is None:
        metadata = model.metadata
        raise ExplainError(
            f"{model.path}: preset '{metadata.preset}' answers no pose ({', '.join(metadata.tasks)}), "
            "so there is nothing to explain"
        )
    return found


def grad_cam_plus_plus(activation_CHW: Tensor, gradient_CHW: Tensor) -> Tensor:
    """The map (H, W) of one image, 0 and above, from a layer's activations and the scalar's gradient by them.

    For Y = exp(S) the paper's weight of a pixel, g^2 / (2 g^2 + g^3 sum(A)), is 1 / (2 + g sum(A)), and only pixels
    with g > 0 count. It was derived for activations after a ReLU: where a layer has negative ones, they are left out of
    sum(A), so that the denominator is never below 2.
    """
    total_C11 = activation_CHW.clamp_min(0).sum(dim=(1, 2), keepdim=True)
    rising = gradient_CHW.clamp_min(0)
    weight_C11 = (rising / (2 + rising * total_C11)).sum(dim=(1, 2), keepdim=True)
    return (weight_C11 * activation_CHW).sum(dim=0).clamp_min(0)


def named_layers(explanation: Explanation, names: Sequence[str], what: str) -> dict[str, nn.Module]:
    """The layers of these names. Raises ExplainError, naming `what` and the layers there are, for an unknown one."""
    known = explanation.layers
    for name in names:
        if name not in known:
            raise ExplainError(f"{what}: has no layer '{name}' on the way to its pose; there are {', '.join(known)}")
    return {name: known[name] for name in names}


def activation_maps(
    step: nn.Module, inputs: Sequence[Any], explanation: Explanation, layers: dict[str, nn.Module], scalar: str
) -> dict[str, Tensor]:
    """Grad-CAM++ of one frame at several layers, each (h, w) at its layer's resolution.

    Args:
        step: an `ExportedStep` with localization, in evaluation mode.
        inputs: the arguments of its call for a batch of one, the last of them the state.
        explanation: of its network.
        layers: from `named_layers`.
        scalar: a name in `SCALARS`.
    """
    seen: dict[nn.Module, Tensor] = {}

    def remember(module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen[module] = output

    watched = dict.fromkeys([*layers.values(), explanation.features])
    hooks = [module.register_forward_hook(remember) for module in watched]
    try:
        # The caller may stream in inference mode, whose tensors carry no gradient, so they are copied.
        # cuDNN's recurrent layers have a gradient only while training; PyTorch's own have one always.
        with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            *frame, state = inputs
            past = {name: value.clone() for name, value in state.items()}
            answer, _ = step(*(value.clone() for value in frame), past)
            score = explanation.scalars[scalar](answer, seen[explanation.features]).sum()
            maps = [seen[module] for module in layers.values()]
            gradients = torch.autograd.grad(score, maps)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: grad_cam_plus_plus(map_.detach()[0], gradient[0])
        for name, map_, gradient in zip(layers, maps, gradients, strict=True)
    }

"""The step that runs on the robot, as TorchScript."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from vlocnetpp.network import Network
from vlocnetpp.network.preprocess import Preprocess
from vlocnetpp.runtime.map_cloud import MAP_CLOUD_NAME
from vlocnetpp.runtime.model_file import METADATA_NAME, PRECISIONS, ModelFileError
from vlocnetpp.step import ANSWERS, PREDICTIONS, Answer, State


class ExportedStep(nn.Module):
    """Preprocessing, network and the reduction of scores to ids: what runs on the robot."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        view, scene = network.config.view, network.config.scene
        self.preprocess = Preprocess(view.height, view.width_px, view.resize == "whole", scene.focal_correction)
        self.network = network
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(()))
        """Its dtype is the precision of the network's input."""
        self.numbers = [name for name in ANSWERS if name in PREDICTIONS]

    def forward(
        self, image_BHWC: Tensor, channels_3: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State
    ) -> tuple[Answer, State]:
        """See `network.preprocess.Preprocess.forward` for the input and `step` for the rest."""
        image, K, depth = self.preprocess(image_BHWC, channels_3, K_B33, depth_B1HW)
        prediction, state = self.network(image.to(self.zero.dtype), K, depth, state)
        answer: dict[str, Tensor] = {}
        # Answers are in full precision whatever that of the weights: numpy lacks bfloat16.
        for name in self.numbers:
            if name in prediction:
                answer[name] = prediction[name].float()
        if "logits_BCHW" in prediction:
            # The same ids as argmax, which takes four times as long over the channels of a map on a CPU.
            answer["mask_BHW"] = prediction["logits_BCHW"].max(dim=1)[1].to(torch.uint8)
        return answer, state


def write_torchscript(
    network: Network, path: Path, precision: str, metadata: str, map_cloud: bytes | None = None
) -> None:
    """Script the network, which stays as it was, and write it with the JSON text of its metadata and the map's cloud.

    The caller makes the file appear whole: this writes to `path` and to a scratch file beside it. Raises ModelFileError
    if it cannot.
    """
    # A copy: scripting shares the parameters, and the conversion below would change the caller's network.
    scripted = torch.jit.script(ExportedStep(copy.deepcopy(network)).eval())
    if precision != "fp32":
        scripted.to(PRECISIONS[precision])
    extra: dict[str, str | bytes] = {METADATA_NAME: metadata}
    if map_cloud is not None:
        extra[MAP_CLOUD_NAME] = map_cloud
    with_debug = path.with_name(f"{path.name}.script")
    try:
        torch.jit.save(scripted, str(with_debug), _extra_files=extra)
        strip_debug(with_debug, path)
    except RuntimeError as error:
        raise ModelFileError(f"{path.name}: cannot be written ({str(error).splitlines()[0]})") from error
    finally:
        with_debug.unlink(missing_ok=True)


def strip_debug(source: Path, target: Path) -> None:
    """Copy a TorchScript archive without its debug records, which name files of the machine it was made on."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for item in old.infolist():
            if not item.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(item.filename), old.read(item))

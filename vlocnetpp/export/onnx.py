"""The same step as ONNX, for runtimes other than PyTorch's.

One stream and one size of image, both fixed when the file is made: preprocessing is inside, and the size of its resize
must be known. The inputs are `image`, `channels`, `K`, `depth` and `state.*`, the outputs `pose`, `relative`,
`log_scale`, `mask` and `next_state.*`: `next_state.x` of one step is `state.x` of the next, zeros are a cold start. The
network decides which outputs and which fields of a state there are.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.export.torchscript import ExportedStep
from vlocnetpp.geometry import central_view, scale_intrinsics
from vlocnetpp.network import Network, cold_state_of
from vlocnetpp.network.preprocess import Preprocess, correct_focal, resize_depth, round_levels
from vlocnetpp.runtime.model_file import METADATA_NAME, PRECISIONS, Metadata, ModelFileError, metadata_from_json
from vlocnetpp.step import ANSWERS

OPSET = 20
"""The first opset whose `GridSample` has PyTorch's mode names; ONNX Runtime reads it from 1.17 on."""
FRAME_INPUTS = ("image", "channels", "K", "depth")


def require(*names: str) -> None:
    """Raise ModelFileError unless these packages of the extra `onnx` can be imported."""
    try:
        for name in names:
            import_module(name)
    except ImportError as error:
        raise ModelFileError(
            f"ONNX needs a package that is missing ({error}); pip install '.[onnx]' in the checkout"
        ) from error


def output_name(name: str) -> str:
    """Name of an answer in the file, without its shape: `pose` for `pose_B7`."""
    return name.rpartition("_")[0]


ANSWER_OF_OUTPUT = {output_name(name): name for name in ANSWERS}
"""From the file's names back to ours."""


class FixedPreprocess(nn.Module):
    """`Preprocess` for one size of image: its resize as two matrices, made by PyTorch itself.

    ONNX has an antialiased resize, but ONNX Runtime computes its weights less exactly, so that some pixels round to
    another level, and other runtimes lack it.
    """

    def __init__(self, preprocess: Preprocess, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.width = preprocess.height, preprocess.width
        self.focal_correction = preprocess.focal_correction
        self.image_size = image_size
        self.view = central_view(*image_size, self.height, self.width, preprocess.whole)
        self.vertical_hH: Tensor
        self.horizontal_Ww: Tensor
        self.register_buffer("vertical_hH", resize_matrix(image_size[0], self.view[0]))
        self.register_buffer("horizontal_Ww", resize_matrix(image_size[1], self.view[1]).t().contiguous())

    def forward(
        self, image_BHWC: Tensor, channels_3: Tensor, K_B33: Tensor, depth_B1HW: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `Preprocess.forward`."""
        (height, width), (rows, columns, top, left) = self.image_size, self.view
        image = image_BHWC.index_select(3, channels_3).permute(0, 3, 1, 2).to(K_B33.dtype)
        if (rows, columns) != (height, width):
            image = round_levels(torch.matmul(self.vertical_hH, torch.matmul(image, self.horizontal_Ww)))
        image = image[:, :, top : top + self.height, left : left + self.width]
        depth = resize_depth(depth_B1HW, rows, columns)[:, :, top : top + self.height, left : left + self.width]
        K = correct_focal(K_B33, self.focal_correction)
        return image, scale_intrinsics(K, columns / width, rows / height, float(left), float(top)), depth


def resize_matrix(size: int, new_size: int) -> Tensor:
    """(new_size, size) weights of an antialiased bilinear resize along one axis."""
    line = torch.eye(size)[None, None]
    return F.interpolate(line, size=(new_size, size), mode="bilinear", align_corners=False, antialias=True)[0, 0]


class FlatStep(nn.Module):
    """`ExportedStep` with plain tensors instead of mappings."""

    def __init__(self, network: Network, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.step = ExportedStep(network)
        self.step.add_module("preprocess", FixedPreprocess(self.step.preprocess, image_size))
        self.state = list(network.state_shapes())

    def forward(self, image: Tensor, channels: Tensor, K: Tensor, depth: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Inputs and outputs as in the docstring of this module."""
        past = dict(zip(self.state, state, strict=True))
        answer, new_state = self.step(image, channels, K, depth, past)
        return (*answer.values(), *(new_state[name] for name in self.state))


def write_onnx(network: Network, path: Path, precision: str, metadata: str, image_size: tuple[int, int]) -> None:
    """Write the network, which stays as it was, with the JSON text of its metadata among the file's properties.

    Args:
        image_size: rows and columns of the images that the file will be given, three channels each.
        precision: fp32 or fp16; of bf16, ONNX Runtime has hardly any operator.

    Raises:
        ModelFileError: the extra `onnx` is not installed, or the precision does not exist here.
    """
    require("onnx", "onnxscript")
    if precision == "bf16":
        raise ModelFileError("ONNX in bf16 runs on hardly any runtime; use --precision fp16 or fp32 with --onnx")
    height, width = image_size
    dtype = PRECISIONS[precision]
    flat = FlatStep(copy.deepcopy(network).to(dtype), image_size).eval().requires_grad_(False)
    flat.step.zero = flat.step.zero.to(dtype)  # the images' precision; they are resized in float32
    cold = cold_state_of(flat.step.network)
    depth_size = (height, width) if network.config.traits.reads_depth else (1, 1)
    example = (
        torch.zeros((1, height, width, 3), dtype=torch.uint8),
        torch.tensor([0, 1, 2]),
        torch.eye(3)[None],
        torch.zeros((1, 1, *depth_size)),
        *cold.values(),
    )
    with quiet(), torch.no_grad():
        answers, _ = flat.step(*example[:4], cold)
        program = torch.onnx.export(
            flat,
            example,
            input_names=[*FRAME_INPUTS, *(f"state.{name}" for name in flat.state)],
            output_names=[*(output_name(name) for name in answers), *(f"next_state.{name}" for name in flat.state)],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise ModelFileError(f"{path.name}: PyTorch made no ONNX program of it")
        model = program.model
        for node in model.graph.all_nodes():
            # The exporter's debug records name files of the machine it ran on.
            node.metadata_props.clear()
            node.doc_string = None
        model.metadata_props.clear()
        model.metadata_props[METADATA_NAME] = metadata
        program.save(str(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's warnings on optional packages and deprecations, and restore the settings afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def read_onnx(path: Path) -> Any:
    """The `onnx.ModelProto` of a file. Raises ModelFileError for a missing, truncated or foreign one."""
    require("onnx")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelFileError(f"{path}: is no ONNX file, or it is truncated ({reason}); copy it again") from error
    return model


def read_onnx_metadata(path: str | Path) -> Metadata:
    """The metadata of an ONNX file. Raises ModelFileError for one that `vlocnetpp export` did not write."""
    path = Path(path)
    texts = [entry.value for entry in read_onnx(path).metadata_props if entry.key == METADATA_NAME]
    if not texts:
        raise ModelFileError(f"{path}: is no model file of vlocnetpp (no {METADATA_NAME}); see 'vlocnetpp export'")
    return metadata_from_json(texts[0], path)


def onnx_interface(path: Path) -> list[tuple[str, str, str]]:
    """Rows of direction, name and type with shape, and the opset, for a table."""
    require("onnx")
    import onnx

    model = read_onnx(path)

    def described(value: Any) -> str:
        tensor = value.type.tensor_type
        return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} " + " x ".join(
            str(axis.dim_value) for axis in tensor.shape.dim
        )

    rows = [("in", value.name, described(value)) for value in model.graph.input]
    rows += [("out", value.name, described(value)) for value in model.graph.output]
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    return [*rows, ("opset", opsets, "")]

"""From a trained network to the files that a robot runs: TorchScript, ONNX, and a check that they give the network's
answers."""

from vlocnetpp.export.files import Export, export_files, export_network, export_run
from vlocnetpp.export.onnx import read_onnx_metadata
from vlocnetpp.export.parity import ParityError
from vlocnetpp.export.rebuild import rebuild
from vlocnetpp.export.torchscript import ExportedStep

__all__ = [
    "Export",
    "ExportedStep",
    "ParityError",
    "export_files",
    "export_network",
    "export_run",
    "read_onnx_metadata",
    "rebuild",
]

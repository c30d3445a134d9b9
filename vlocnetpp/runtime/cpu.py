"""What a CPU runs in place of what the file says: the same step, its convolutions as oneDNN runs them fastest.

`aten::conv2d` brings the weights into oneDNN's layout at every call and leaves small 1x1 convolutions to a matrix
product. Here each becomes `mkldnn::_convolution_pointwise`, the operator that PyTorch's own compiler uses, with weights
that were laid out once, and with the sum that follows as part of it, one pass over the map less. A ReLU stays outside:
oneDNN's makes 0 of NaN, and a broken answer would look like a pose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

POINTWISE = "mkldnn::_convolution_pointwise"
CONVOLUTION = "%c : Tensor = aten::conv2d(%x, %w, %b, %s, %p, %d, %g)"
ALONE = "graph(%x, %w, %b, %s, %p, %d, %g):"
WITH_ANOTHER = "graph(%x, %w, %b, %s, %p, %d, %g, %y, %alpha):"
PLAIN = f"""{ALONE}
  %kind : str = prim::Constant[value="none"]()
  %factors : Scalar?[] = prim::ListConstruct()
  %how : str = prim::Constant[value=""]()
  %r : Tensor = {POINTWISE}(%x, %w, %b, %p, %s, %d, %g, %kind, %factors, %how)
  return (%r)"""
SUM = f"""{WITH_ANOTHER}
  %kind : str = prim::Constant[value="add"]()
  %none : NoneType = prim::Constant()
  %factors : Scalar?[] = prim::ListConstruct()
  %r : Tensor = {POINTWISE}(%x, %y, %w, %b, %p, %s, %d, %g, %kind, %alpha, %none, %factors, %none)
  return (%r)"""
REWRITES = (
    (f"{WITH_ANOTHER}\n  {CONVOLUTION}\n  %r : Tensor = aten::add(%c, %y, %alpha)\n  return (%r)", SUM),
    (f"{WITH_ANOTHER}\n  {CONVOLUTION}\n  %r : Tensor = aten::add(%y, %c, %alpha)\n  return (%r)", SUM),
    (f"{ALONE}\n  {CONVOLUTION}\n  return (%c)", PLAIN),
)
"""What is looked for and what takes its place, in this order.

oneDNN's sum wants maps of one shape and a factor of 1, else the run on the example fails."""


def freeze_for_cpu(
    step: torch.jit.ScriptModule, example: tuple[Any, ...], packs: bool
) -> tuple[torch.jit.ScriptModule, tuple[str, ...]]:
    """The step frozen, channels last and, where `packs`, its convolutions packed; and what was done.

    Where packing fails, or the packed step does not run, the step is only frozen, and what was done says why.
    """
    layout: Any = {"memory_format": torch.channels_last}  # which the annotations of `to` leave out
    step.to(**layout)
    done: tuple[str, ...] = ("frozen", "channels-last")
    frozen = torch.jit.freeze(step)
    if packs:
        try:
            pack_convolutions(frozen, example)
            run_twice(frozen, example)
        except (RuntimeError, AttributeError) as error:
            reason = str(error).strip().splitlines()[-1]  # the lines before say where in the graph
            frozen, done = freeze_for_cpu(step, example, False)
            return frozen, (*done, f"convolutions not packed: {reason}")
        done = (*done, "packed")
    return frozen, done


def run_twice(step: torch.jit.ScriptModule, example: tuple[Any, ...]) -> None:
    """Run the first frame and a second one after it. Raises RuntimeError where the step does not run.

    TorchScript compiles a graph once more after its first run, and the state that a step leaves may lie differently in
    memory from the one it starts from: a step that has run twice runs on every frame.
    """
    *frame, _ = example
    with torch.inference_mode():
        _, state = step(*example)
        step(*frame, state)


def pack_convolutions(step: torch.jit.ScriptModule, example: tuple[Any, ...]) -> int:
    """Rewrite the graph of a frozen step on the CPU, which must not have run yet; return how many convolutions it has.

    Args:
        example: inputs of the size of every frame; they are run once, since the best layout depends on a map's size.

    Raises:
        RuntimeError, AttributeError: this PyTorch lacks the operator or a way into the graph. The step may have been
            rewritten in part and must not be used.
    """
    graph: Any = step.graph
    _rewrite(graph, *REWRITES)
    found = [node for node in _nodes(graph) if node.kind() == POINTWISE]
    for node, size in zip(found, _input_sizes(graph, example), strict=True):
        inputs = list(node.inputs())
        at = next(i for i, value in enumerate(inputs) if value.node().kind() == "prim::Constant")  # maps are computed
        weight, _, padding, stride, dilation, groups = (value.toIValue() for value in inputs[at : at + 6])
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, size)
        constant = graph.create("prim::ConstantMKLDNNTensor", 1)
        constant.t_("value", packed)
        constant.insertBefore(node)
        node.replaceInput(at, constant.output())
    torch._C._jit_pass_dce(graph)  # the weights as they were
    return len(found)


def _rewrite(graph: Any, *rewrites: tuple[str, str]) -> None:
    for pattern, replacement in rewrites:
        torch._C._jit_pass_custom_pattern_based_rewrite_graph(pattern, replacement, graph)


def _input_sizes(graph: Any, example: tuple[Any, ...]) -> list[list[int]]:
    """Size of the map that each convolution reads, in the order of the graph, from one run of a copy of it."""
    copy = graph.copy()
    while list(copy.outputs()):
        copy.eraseOutput(0)
    for node in [node for node in _nodes(copy) if node.kind() == POINTWISE]:
        size = copy.create("aten::size", [next(node.inputs())], 1)
        size.insertBefore(node)
        size.output().setType(torch._C.ListType.ofInts())
        copy.registerOutput(size.output())
    copy.eraseInput(0)  # the module, of which nothing is left in a frozen graph
    copy.makeMultiOutputIntoTuple()
    with torch.inference_mode():
        return list(torch._C._create_function_from_graph("sizes", copy)(*example))


def _nodes(block: Any) -> Iterator[Any]:
    """Every node of a graph, blocks of branches included."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)

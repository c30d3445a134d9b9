"""One node process for all tests of a module, and the state in which each test finds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ros_peers import Peer, interrupt, node_process


@contextmanager
def lasting_node(folder: Path, model: Path) -> Iterator[Peer]:
    """A peer of a node that lives as long as the context; at its end Ctrl-C must end the node cleanly."""
    peer = Peer()
    try:
        with node_process(folder, model=str(model)) as process:
            peer.wait_for_node()
            yield peer
            assert interrupt(process) == 0, (folder / "node.log").read_text()
    finally:
        peer.close()


def unconfigured(peer: Peer, model: Path) -> Peer:
    """The node as it was started: unconfigured, with a good model and raw images."""
    peer.unconfigured()
    peer.set_parameter("model", str(model))
    peer.set_parameter("image_transport", "raw")
    peer.set_enabled(True)
    return peer

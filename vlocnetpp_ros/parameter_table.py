"""Files that are generated from the declarations of the parameters; a test compares them.

python -m vlocnetpp_ros.parameter_table page > docs/parameters.md
python -m vlocnetpp_ros.parameter_table file > config/localize.yaml
"""

from __future__ import annotations

import sys
import textwrap

from vlocnetpp_ros.settings import DECLARATIONS, Declaration

HEAD = """\
# Parameters of the localization node

Written by `python -m vlocnetpp_ros.parameter_table page > docs/parameters.md`; a test holds the page to the
declarations. `ros2 param describe /localizer NAME` says the same of a running node.
[config/localize.yaml](../config/localize.yaml) holds them all at their defaults, [config/cameras](../config/cameras)
what differs for a camera, and each is an argument of `localize.launch.py` too. Which of these wins is said in
[node.md](node.md#parameters).

*at once*: a change by `ros2 param set` acts on the next image. *configure*: it is taken and acts when the node is
configured next (`ros2 lifecycle set /localizer deactivate`, `cleanup`, `configure`, `activate`). *start*: only when the
process starts. A value outside of what is allowed is refused with the reason; one that is wrong already at start leaves
the node alive, and configure fails with the reason until it is corrected.

| parameter | type | default | allowed | acts | |
|---|---|---|---|---|---|
"""
TYPES = {str: "string", bool: "bool", int: "integer", float: "double"}
"""As `ros2 param describe` calls them."""
FOOT = """
Besides these: `use_sim_time`, and the standard `qos_overrides.<topic>.subscription.*` and `.publisher.*` with
`reliability`, `depth` and `history` for the topics that [node.md](node.md#inputs) names, which act when the topic is
first created.
"""
FILE_HEAD = """\
# Parameters of the localization node, all at their defaults; docs/parameters.md says the same with range and type.
# Written by `python -m vlocnetpp_ros.parameter_table file > config/localize.yaml`.
# A model must be named, here or as the launch argument model:=FILE; everything else has a working default.
# For localize.launch.py params_file:=FILE copy only what you change: what is named there wins over camera:=NAME.
/**:
  ros__parameters:
"""
FILE_FOOT = """
    # QoS of every topic by the standard overrides. Images are read best-effort by default, which takes them from
    # reliable publishers too.
    # qos_overrides:
    #   /zed/zed_node/rgb/color/rect/image:
    #     subscription:
    #       reliability: reliable
    #       depth: 5
"""


def allowed(declaration: Declaration) -> str:
    """The choices or the range, empty where any value will do."""
    if declaration.choices:
        return ", ".join(f"`{choice}`" for choice in declaration.choices)
    if declaration.range:
        low, high = declaration.range
        return f"{low:.15g} to {high:.15g}"
    return ""


def acts(declaration: Declaration) -> str:
    """When a change acts."""
    if declaration.read_only:
        return "start"
    return "at once" if declaration.live else "configure"


def default(declaration: Declaration) -> str:
    """The default as YAML writes it."""
    value = declaration.default
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if value == "" else str(value)


def text(declaration: Declaration) -> str:
    """The description, without what Markdown would take for a tag or a column."""
    return declaration.description.replace("<", "\\<").replace("|", "\\|")


def page() -> str:
    """docs/parameters.md."""
    rows = [
        f"| `{d.name}` | {TYPES[type(d.default)]} | `{default(d)}` | {allowed(d)} | {acts(d)} | {text(d)} |\n"
        for d in DECLARATIONS
    ]
    return HEAD + "".join(rows) + FOOT


def parameter_file() -> str:
    """config/localize.yaml."""
    entries = []
    for declaration in DECLARATIONS:
        words = declaration.description
        if declaration.choices or declaration.range:
            words += f" Allowed: {allowed(declaration).replace('`', '')}."
        comment = textwrap.wrap(words, 114, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        entries.append(textwrap.indent("\n".join([*comment, f"{declaration.name}: {default(declaration)}"]), "    "))
    return FILE_HEAD + "\n".join(entries) + "\n" + FILE_FOOT


if __name__ == "__main__":
    written = {"page": page, "file": parameter_file}
    if len(sys.argv) != 2 or sys.argv[1] not in written:
        sys.exit(__doc__)
    print(written[sys.argv[1]](), end="")

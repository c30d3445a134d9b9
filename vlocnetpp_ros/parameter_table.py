"""The page docs/parameters.md, written from the declarations: `python -m vlocnetpp_ros.parameter_table`."""

from __future__ import annotations

from vlocnetpp_ros.parameters import DECLARATIONS, Declaration

HEAD = """\
# Parameters of the localization node

Written by `python -m vlocnetpp_ros.parameter_table > docs/parameters.md`; a test holds the page to the declarations.
`ros2 param describe /localizer NAME` says the same of a running node. [config/localize.yaml](../config/localize.yaml)
holds them all at their defaults, [config/cameras](../config/cameras) what differs for a camera; which file wins is
said in [node.md](node.md#parameters).

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
`reliability`, `depth` and `history` for every topic, which act when the topic is first created.
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
    """The whole page as Markdown."""
    rows = [
        f"| `{d.name}` | {TYPES[type(d.default)]} | `{default(d)}` | {allowed(d)} | {acts(d)} | {text(d)} |\n"
        for d in DECLARATIONS
    ]
    return HEAD + "".join(rows) + FOOT


if __name__ == "__main__":
    print(page(), end="")

"""Parameters of a ROS node from the declarations in `settings`: declared, checked, read, and applied once set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vlocnetpp_ros.environment import after_parameters_are_set
from vlocnetpp_ros.parameter_names import DECLARED, unknown_parameter
from vlocnetpp_ros.settings import DECLARATIONS, Declaration, ParameterError, Settings


class Parameters:
    """The node's declared parameters. A wrong value at start does not end the node: configure refuses it. A change is
    checked before it is set and takes effect after it was set, since another callback may refuse it in between.
    `on_live` gets the new settings when a live parameter is changed after `read`.
    """

    def __init__(self, node: Node, on_live: Callable[[Settings], None] | None = None) -> None:
        self._node = node
        self._on_live = on_live
        self._settings: Settings | None = None
        self._refused: dict[str, str] = {}
        for declaration in DECLARATIONS:
            self._declare(declaration)
        # A misspelt name in a file or on the command line would otherwise be without effect. rclpy has no public list
        # of what was given.
        self._unknown = unknown_parameter(node._parameter_overrides)
        node.add_on_set_parameters_callback(self._check)
        after_parameters_are_set(node, self._apply)

    def read(self) -> Settings:
        """The current values.

        Raises ParameterError for one that was refused and not corrected since, is missing, or does not exist.
        """
        if self._unknown:
            raise ParameterError(self._unknown)
        for reason in self._refused.values():
            raise ParameterError(reason)
        settings = Settings(**{name: self._node.get_parameter(name).value for name in DECLARED})
        if not settings.model:
            raise ParameterError("parameter 'model' is empty: give the path of a file written by 'vlocnetpp export'")
        if not settings.image_topic:
            raise ParameterError("parameter 'image_topic' is empty: give the topic of the rectified colour image")
        self._settings = settings
        return settings

    def forget(self) -> None:
        """Ignore live changes from now on, since the node is no longer configured."""
        self._settings = None

    def _declare(self, declaration: Declaration) -> None:
        descriptor = _descriptor(declaration)
        try:
            value = self._node.declare_parameter(declaration.name, declaration.default, descriptor).value
            problem = declaration.problem(value)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            self._node.declare_parameter(declaration.name, declaration.default, descriptor, ignore_override=True)
            problem = f"parameter '{declaration.name}' cannot be used: {error.args[0]}"
            if isinstance(declaration.default, str):
                problem += " (YAML reads off, no, on and yes as booleans: put the value in quotes)"
        if problem:
            self._refused[declaration.name] = problem

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        """Check whether all of them are allowed; changes nothing."""
        for parameter in parameters:
            declaration = DECLARED.get(parameter.name)
            problem = declaration.problem(parameter.value) if declaration else None
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        """Apply live parameters after they have been set."""
        changed = {parameter.name: parameter.value for parameter in parameters if parameter.name in DECLARED}
        for name in changed:
            self._refused.pop(name, None)
        if self._settings is None:
            return
        live = {name: value for name, value in changed.items() if DECLARED[name].live}
        waiting = [name for name in changed if name not in live]
        if live:
            self._settings = replace(self._settings, **live)
            if self._on_live is not None:
                self._on_live(self._settings)
        if waiting:
            self._node.get_logger().info(f"{', '.join(waiting)}: acts when the node is configured next")


def _descriptor(declaration: Declaration) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=declaration.description, read_only=declaration.read_only)
    if declaration.choices:
        descriptor.additional_constraints = f"one of {', '.join(declaration.choices)}"
    if declaration.range and isinstance(declaration.default, float):
        low, high = declaration.range
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif declaration.range:
        first, last = map(int, declaration.range)
        descriptor.integer_range = [IntegerRange(from_value=first, to_value=last, step=1)]
    return descriptor

"""Calling methods of an object that lives elsewhere: on another thread's loop, or in another process.

Arguments and results cross as JSON in both cases, so that what works in one works in the other. The types
come from the methods' own annotations.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")
Call = Callable[[str, str, str], str]
"""Object name, method name and arguments as JSON; returns the result as JSON, or raises ControlError."""


class ControlError(Exception):
    """The control refused; the text says why."""


def dispatch(objects: Mapping[str, object], name: str, method: str, arguments: str) -> str:
    """Call a public method of one of `objects`; raise ControlError for whatever it raises."""
    found = None if method.startswith("_") else getattr(objects.get(name), method, None)
    if not callable(found):
        raise ControlError(f"there is no control {name}.{method}")
    try:
        signature = inspect.signature(found, eval_str=True)
        given = {
            key: TypeAdapter(signature.parameters[key].annotation).validate_python(value, strict=False)
            for key, value in json.loads(arguments).items()
        }
        result = _call(found, signature, given)
        return TypeAdapter(signature.return_annotation).dump_json(result).decode()
    except Exception as error:
        raise ControlError(f"{name}.{method}: {error}") from error


def remote(kind: type[T], name: str, call: Call) -> T:
    """Return a stand-in for the object `name` of class `kind`; each method call goes through `call`."""
    return cast("T", _Stand(kind, name, call))


class _Stand:
    def __init__(self, kind: type[object], name: str, call: Call) -> None:
        self._kind = kind
        self._name = name
        self._call = call

    def __getattr__(self, method: str) -> Callable[..., object]:
        signature = inspect.signature(getattr(self._kind, method), eval_str=True)

        def send(*positional: object, **named: object) -> object:
            bound = signature.bind(self, *positional, **named).arguments
            given = {
                key: TypeAdapter(signature.parameters[key].annotation).dump_python(value, mode="json")
                for key, value in bound.items()
                if key != "self"
            }
            result = self._call(self._name, method, json.dumps(given))
            return TypeAdapter(signature.return_annotation).validate_json(result)

        return send


def _call(method: Callable[..., object], signature: inspect.Signature, given: dict[str, Any]) -> object:
    positional = [
        given.pop(parameter.name)
        for parameter in signature.parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name in given
    ]
    return method(*positional, **given)

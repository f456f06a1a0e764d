"""The base class of modules: parameters, training or evaluation, and the state as plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ..arguments import shape_of, to_float
from ..engine import Value
from ..tables import lay_out
from ..watching import find_watcher, report_look, watchers

__all__ = ["Module"]

Self = TypeVar("Self", bound="Module")


class Module:
    """A part of a network. Its parameters are the leaf Values among its attributes, in lists and modules at any depth.

    A call of the module calls its ``forward``.

    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope, self.intercept = Value(2.0), Value(1.0)
    ...
    ...     def forward(self, x):
    ...         return self.slope * x + self.intercept
    >>> line = Line()
    >>> line(3.0).data
    7.0
    >>> [name for name, _ in line.named_parameters()]
    ['slope', 'intercept']
    >>> line
    Line with 2 parameters
    """

    buffers: tuple[str, ...] = ()
    """The names of attributes that are saved but not trained: numbers and lists of numbers."""

    @property
    def training(self) -> bool:
        """Whether the module is in training mode. Dropout and batch normalisation depend on it."""
        if watchers:
            report_look(self, "training", "read")
        return bool(vars(self).get("training", True))

    @training.setter
    def training(self, is_training: bool) -> None:
        vars(self)["training"] = is_training

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Calls :meth:`forward`."""
        watcher = find_watcher() if watchers else None
        return watcher.call(self, inputs, options) if watcher else self.forward(*inputs, **options)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Returns the outputs for the inputs. Each class of modules defines its own ``forward``.

        Raises:
            NotImplementedError: if the class doesn't define it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no forward(self, x), which says what it gives when called"
        )

    def parameters(self) -> list[Value]:
        """The parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Value]]:
        """The parameters with their paths, each once: ``("layers.0.neurons.2.w.1", Value(…))``.

        Raises:
            TypeError: if a set contains parameters, because a set has no order.
        """
        seen: set[Value] = set()
        for name, value in _walk(self, "", set(), vars):
            if isinstance(value, Value) and value not in seen:
                seen.add(value)
                yield name, value

    def zero_grad(self) -> None:
        """Sets the gradients of all parameters to 0."""
        for parameter in self.parameters():
            parameter.grad = 0.0

    def train(self: Self, mode: bool = True) -> Self:
        """Sets ``training`` to ``mode`` in this module and all modules in it, and returns this module.

        Raises:
            TypeError: if ``mode`` is neither True nor False.
        """
        if not isinstance(mode, bool):
            raise TypeError(f"train() takes True or False, not {type(mode).__name__} {mode!r}")
        for _, module in _walk(self, "", set(), vars):
            if isinstance(module, Module):
                module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Sets ``training`` to False, for predictions, and returns this module."""
        return self.train(False)

    def state_dict(self) -> dict[str, Any]:
        """Returns the parameters and buffers by their paths, as plain numbers in nested lists.

        A linear layer has a ``weight``, with one row of numbers per neuron, and a ``bias``, with one number per neuron.
        PyTorch's ``Sequential`` of ``Linear`` and activations has the same keys and shapes.

        Raises:
            ValueError: if two entries have the same name.
            TypeError: if a set contains parameters.

        >>> from micrograd.nn import MLP
        >>> list(MLP(2, [4, 1]).state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
        """
        return {key: _read(entry) for key, entry in self._entries().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Sets the parameters and buffers to the numbers of a :meth:`state_dict`; its lists may be arrays or tensors.

        Raises:
            ValueError: if an entry is missing, is unknown, has another shape or contains something else than numbers.
                The message lists all such entries, and nothing is changed.
            TypeError: if the state is not a dictionary.

        >>> from micrograd.nn import Linear
        >>> line = Linear(1, 1)
        >>> line.load_state_dict({"weight": [[2]], "bias": [0.5]})
        >>> line([10])[0].data
        20.5
        >>> line.load_state_dict({"weight": [2], "offset": 0.5})
        Traceback (most recent call last):
            ...
        ValueError: this state does not fit Linear(1, 1), and nothing was changed:
          missing: bias
          unknown: offset
          weight: shape (1, 1) is needed, not (1,)
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"a state is a dictionary, such as state_dict() gives, not {type(state).__name__}")
        entries = self._entries()
        lists = {"missing": [k for k in entries if k not in state], "unknown": [k for k in state if k not in entries]}
        problems = [f"{what}: {', '.join(map(str, keys))}" for what, keys in lists.items() if keys]
        numbers: dict[Any, float] = {}
        buffers: list[tuple[_Buffer, Any]] = []
        for key, entry in entries.items():
            if key in state:
                try:
                    given = _plain(state[key])
                    _compare_shapes(_read(entry), given)
                    if isinstance(entry, _Buffer):
                        buffers.append((entry, given))
                        continue
                    for value, number in zip(_flat(entry), _flat(given), strict=True):
                        known = numbers.setdefault(value, number)
                        if known != number and known == known:  # nan differs from itself
                            raise ValueError("shared with an entry above, and different from it")
                except (TypeError, ValueError, OverflowError) as error:
                    problems.append(f"{key}: {error}")
        if problems:
            what = "\n  ".join(problems)
            raise ValueError(f"this state does not fit {self._title()}, and nothing was changed:\n  {what}")
        for value, number in numbers.items():
            value.data = number
        for buffer, given in buffers:
            setattr(buffer.module, buffer.name, given)

    def summary(self) -> str:
        """Returns a table of the modules in this one: path, as in :meth:`named_parameters`, and number of parameters.

        >>> from micrograd.nn import MLP
        >>> print(MLP(2, [4, 1], activation="tanh").summary())
        name      module             parameters
        layers.0  Layer(2, 4, tanh)          12
        layers.1  Layer(4, 1)                 5
        total                                17
        """
        modules = {part: name for name, part in _walk(self, "", set(), _parts) if isinstance(part, Module)}
        rows = [("name", "module", "parameters")]
        seen: set[Value] = set()
        for module, name in modules.items():
            own = {value for _, value in _walk(module._parts(), "", set(modules), _parts)} - seen
            seen |= own
            parts = [part for _, part in _walk(module, "", set(), _parts) if isinstance(part, Module)]
            if own or parts == [module]:
                rows.append((name, module._title(), str(len(own))))
        rows.append(("total", "", str(len(seen))))
        return lay_out(rows, right=[2])

    def __repr__(self) -> str:
        count = len(self.parameters())
        return f"{self._title()} with {count} parameter{'s' * (count != 1)}"

    def _title(self) -> str:  # its name within the repr of another module
        return type(self).__name__

    def _state(self) -> dict[str, Any]:  # the parts of its state, by their names
        return vars(self)

    def _parts(self) -> dict[str, Any]:  # the rows of a summary
        return vars(self)

    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for key, entry in _entries(self, "", frozenset()):
            if key in entries:
                raise ValueError(f"two entries of the state are called {key!r}")
            entries[key] = entry
        return entries


def _parts(module: Module) -> dict[str, Any]:
    return module._parts()


class _Buffer:
    def __init__(self, module: Module, name: str) -> None:
        self.module, self.name = module, name


def modules(model: Any) -> list[Module]:
    """The model and all modules in it."""
    return [part for _, part in _walk(model, "", set(), vars) if isinstance(part, Module)]


def _walk(
    tree: Any, path: str, seen: set[Module], inside: Callable[[Module], dict[str, Any]]
) -> Iterator[tuple[str, Any]]:
    # The leaf Values and the modules in a tree, with their paths; each module once.
    if isinstance(tree, Value):
        if not tree.parents:
            yield path, tree
        return
    if isinstance(tree, Module):
        if tree in seen:  # the module contains itself, or is used twice
            return
        seen.add(tree)
        yield path, tree
        tree = inside(tree)
    for where, item in _items(tree, path):
        yield from _walk(item, where, seen, inside)


def _items(tree: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(tree, (set, frozenset)) and any(isinstance(item, (Value, Module)) for item in tree):
        raise TypeError(f"{path} is a set, in which parameters have no order: take a list")
    tree = _unpack_array(tree)
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    return [(f"{path}.{key}" if path else str(key), item) for key, item in items]


def _unpack_array(tree: Any) -> Any:
    is_array_of_values = getattr(getattr(tree, "dtype", None), "kind", "") == "O"
    return tree.tolist() if is_array_of_values else tree


def _entries(tree: Any, path: str, around: frozenset[Module]) -> Iterator[tuple[str, Any]]:
    # The entries of the state: a leaf Value, a list of leaf Values only, or a buffer.
    if isinstance(tree, Module):
        if tree in around:  # the module contains itself
            return
        buffers = {name: _Buffer(tree, name) for name in tree.buffers}
        for where, item in _items({**tree._state(), **buffers}, path):
            yield from _entries(item, where, around | {tree})
    elif isinstance(tree, _Buffer) or _is_of_leaves(tree):
        yield path, _unpack_array(tree)
    else:
        for where, item in _items(tree, path):
            yield from _entries(item, where, around)


def _is_of_leaves(tree: Any) -> bool:
    if isinstance(tree, Value):
        return not tree.parents
    tree = _unpack_array(tree)
    return isinstance(tree, (list, tuple)) and len(tree) > 0 and all(map(_is_of_leaves, tree))


def _read(entry: Any) -> Any:
    if isinstance(entry, _Buffer):
        return _plain(getattr(entry.module, entry.name))
    return entry.data if isinstance(entry, Value) else [_read(item) for item in entry]


def _plain(tree: Any) -> Any:
    tree = tree.tolist() if hasattr(tree, "tolist") else tree
    return [_plain(item) for item in tree] if isinstance(tree, (list, tuple)) else to_float(tree)


def _flat(tree: Any) -> list[Any]:
    return [leaf for item in tree for leaf in _flat(item)] if isinstance(tree, (list, tuple)) else [tree]


def _compare_shapes(needed: Any, given: Any) -> None:
    shapes = shape_of(needed), shape_of(given)
    if shapes[0] != shapes[1]:
        raise ValueError(f"shape {shapes[0]} is needed, not {shapes[1]}")

"""What Hypothesis calls when it is loaded, by an entry point of this package."""

from __future__ import annotations

from typing import Any

from ..engine import Value

__all__ = ["register_strategies"]


def register_strategies() -> None:
    """Lets Hypothesis find the strategy for ``Value`` by its type: ``st.from_type(Value)``, or an annotation.

    >>> register_strategies()
    >>> from hypothesis import given, strategies as st
    >>> @given(st.from_type(Value))
    ... def test_is_finite(value):
    ...     assert value.data - value.data == 0
    >>> test_is_finite()
    """
    from hypothesis import strategies as st

    def find_strategy(_: type) -> Any:  # loaded when it is first asked for
        from .strategies import values

        return values()

    st.register_type_strategy(Value, find_strategy)

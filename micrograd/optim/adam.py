"""Adam and its descendants: momentum, divided by a running root mean square of the gradients.

The symbols and the order of operations are those of :mod:`micrograd.optim.descent`.
"""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, State, lerp, maximum, sqrt
from .settings import flag, number, pair, setting

__all__ = ["AdaBelief", "Adam", "AdamW", "NAdam"]

_BETAS = pair(number(high=1.0))


class Adam(Optimizer):
    """Adam (Kingma and Ba, *Adam: a method for stochastic optimization*, 2015).

    g ← g + weight_decay·θ;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps)

    Args:
        params: the Values to train.
        lr: the learning rate.
        betas: (β₁, β₂), the decay factors of the running means of g and of g².
        eps: added to the root.
        weight_decay: the L2 penalty's factor.
        amsgrad: divide by the largest v so far (Reddi et al., *On the convergence of Adam and beyond*, 2018).
        decoupled_weight_decay: θ ← θ − lr·weight_decay·θ before the step instead of changing g, as in AdamW.
        bias_correction: divide by 1 − β₁ᵗ and 1 − β₂ᵗ, because the running means start at 0; if False, by 1.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd import Value
    >>> x = Value(1.0)
    >>> optimizer = Adam([x], lr=0.5, eps=0)
    >>> x.grad = 3.0
    >>> optimizer.step()
    >>> round(x.data, 12)
    0.5
    """

    betas: tuple[float, float] = setting(_BETAS, default=(0.9, 0.999))
    eps: float = setting(default=1e-8)
    weight_decay: float = setting(default=0.0)
    amsgrad: bool = setting(flag, default=False)
    decoupled_weight_decay: bool = setting(flag, default=False, kw_only=True)
    bias_correction: bool = setting(flag, default=True, kw_only=True)

    def first_state(self, parameter: float) -> State:
        return (0.0, 0.0, 0.0) if self.amsgrad else (0.0, 0.0)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        (beta1, beta2), (m, v, *largest) = self.betas, state
        parameter, gradient = self._decay(parameter, gradient)
        m = lerp(m, gradient, 1 - beta1)
        v = beta2 * v + (1 - beta2) * gradient * gradient
        largest = [maximum(old, v) for old in largest]
        denominator = sqrt(largest[0] if largest else v)
        size = self.lr
        if self.bias_correction:
            denominator = denominator / (1 - beta2**step) ** 0.5
            size = size / (1 - beta1**step)
        return parameter - size * m / (denominator + self.eps), (m, v, *largest)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, *Decoupled weight decay regularization*, 2019).

    θ ← θ − lr·weight_decay·θ, then a step of Adam without weight decay

    Args:
        params: the Values to train.
        lr: the learning rate.
        betas, eps, amsgrad, bias_correction: as in :class:`Adam`.
        weight_decay: the rate at which parameters shrink.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd import Value
    >>> x = Value(2.0)
    >>> optimizer = AdamW([x], lr=0.5, weight_decay=0.5)
    >>> optimizer.step()
    >>> x.data
    1.5
    """

    weight_decay: float = setting(default=1e-2)
    decoupled_weight_decay = True


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, *Incorporating Nesterov momentum into Adam*, 2016).

    g ← g + weight_decay·θ;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
    μₜ = β₁(1 − ½·0.96^(t·momentum_decay));  π ← π·μₜ, which starts at 1;
    θ ← θ − lr · ((1 − μₜ)g/(1 − π) + μₜ₊₁m/(1 − π·μₜ₊₁)) / (√(v/(1 − β₂ᵗ)) + eps)

    Args:
        params: the Values to train.
        lr: the learning rate.
        betas: (β₁, β₂), the decay factors of the running means of g and of g².
        eps: added to the root.
        weight_decay: the L2 penalty's factor.
        momentum_decay: how fast μ rises to β₁.
        decoupled_weight_decay: θ ← θ − lr·weight_decay·θ before the step instead of changing g.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd import Value
    >>> x = Value(1.0)
    >>> optimizer = NAdam([x], lr=0.5, eps=0)
    >>> x.grad = 3.0
    >>> optimizer.step()
    >>> round(x.data, 3)
    0.472
    """

    lr: float = setting(default=2e-3)
    betas: tuple[float, float] = setting(_BETAS, default=(0.9, 0.999))
    eps: float = setting(default=1e-8)
    weight_decay: float = setting(default=0.0)
    momentum_decay: float = setting(default=4e-3)
    decoupled_weight_decay: bool = setting(flag, default=False)

    def first_state(self, parameter: float) -> State:
        return (0.0, 0.0, 1.0)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        (beta1, beta2), (m, v, product) = self.betas, state
        parameter, gradient = self._decay(parameter, gradient)
        mu, next_mu = [beta1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay)) for t in (step, step + 1)]
        product = product * mu
        m = lerp(m, gradient, 1 - beta1)
        v = beta2 * v + (1 - beta2) * gradient * gradient
        denominator = sqrt(v / (1 - beta2**step)) + self.eps
        parameter = parameter - self.lr * (1 - mu) / (1 - product) * gradient / denominator
        return parameter - self.lr * next_mu / (1 - product * next_mu) * m / denominator, (m, v, product)


class AdaBelief(Optimizer):
    """AdaBelief (Zhuang et al., *AdaBelief optimizer: adapting stepsizes by the belief in observed gradients*, 2020).

    θ ← θ − lr·weight_decay·θ;  m ← β₁m + (1 − β₁)g;  s ← β₂s + (1 − β₂)(g − m)² + eps;
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(s/(1 − β₂ᵗ)) + eps)

    Args:
        params: the Values to train.
        lr: the learning rate.
        betas: (β₁, β₂), the decay factors of the running means of g and of (g − m)².
        eps: added to s and to the root. The default is that of the authors' code, about the square of Adam's.
        weight_decay: the rate at which parameters shrink.
        decoupled_weight_decay: if False, g ← g + weight_decay·θ instead of shrinking θ: an L2 penalty.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd import Value
    >>> x = Value(1.0)
    >>> optimizer = AdaBelief([x], lr=0.5, betas=(0.5, 0.5))
    >>> x.grad = 3.0
    >>> optimizer.step()
    >>> round(x.data, 12)
    -0.0
    """

    state_size = 2
    betas: tuple[float, float] = setting(_BETAS, default=(0.9, 0.999))
    eps: float = setting(default=1e-16)
    weight_decay: float = setting(default=0.0)
    decoupled_weight_decay: bool = setting(flag, default=True)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        (beta1, beta2), (m, s) = self.betas, state
        parameter, gradient = self._decay(parameter, gradient)
        m = lerp(m, gradient, 1 - beta1)
        s = beta2 * s + (1 - beta2) * (gradient - m) * (gradient - m) + self.eps
        denominator = sqrt(s) / (1 - beta2**step) ** 0.5 + self.eps
        return parameter - self.lr / (1 - beta1**step) * m / denominator, (m, s)

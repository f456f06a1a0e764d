"""An engine whose nodes hand on whatever arrives, at once and recursively."""

import math


class Value:
    def __init__(self, data, children=(), back=None):
        self.data = data
        self.grad = 0.0
        self.children = children
        self.back = back

    def __add__(self, other):
        if not isinstance(other, Value):
            other = Value(other)
        return Value(self.data + other.data, (self, other), lambda g: (g, g))

    def __mul__(self, other):
        if not isinstance(other, Value):
            other = Value(other)
        return Value(self.data * other.data, (self, other), lambda g: (g * other.data, g * self.data))

    def __pow__(self, k):
        return Value(self.data**k, (self,), lambda g: (g * k * self.data ** (k - 1),))

    def __neg__(self):
        return self * (-1)

    def __sub__(self, other):
        return self + (-other)

    def __truediv__(self, other):
        return self * (other**-1)

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other

    def __rsub__(self, other):
        return -self + other

    def __rtruediv__(self, other):
        return (self**-1) * other

    def relu(self):
        return Value(self.data * (self.data > 0), (self,), lambda g: (g * (self.data > 0),))

    def abs(self):
        return Value(abs(self.data), (self,), lambda g: (g if self.data > 0 else -g,))

    def sigmoid(self):
        s = 1 / (1 + math.exp(-self.data))
        return Value(s, (self,), lambda g: (g * s * (1 - s),))

    def backward(self, g=1.0):
        self.grad += g
        if self.back:
            for c, cg in zip(self.children, self.back(g), strict=True):
                c.backward(cg)

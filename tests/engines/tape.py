"""An engine with a tape: every operation is written down when it happens, and read backwards."""

import math


class Tape:
    def __init__(self):
        self.entries = []

    def write(self, out, *pairs):
        self.entries.append((out, pairs))
        return out

    def rewind(self, root):
        last = max((i for i, (out, _) in enumerate(self.entries) if out is root), default=-1)
        for out, _ in self.entries:
            out.grad = 0.0
        root.grad = 1.0
        for out, pairs in reversed(self.entries[: last + 1]):
            for operand, slope in pairs:
                operand.grad += slope * out.grad


TAPE = Tape()


def as_value(x):
    return x if isinstance(x, Value) else Value(x)


class Value:
    def __init__(self, data):
        self.data = data
        self.grad = 0.0

    def __add__(self, other):
        other = as_value(other)
        return TAPE.write(Value(self.data + other.data), (self, 1.0), (other, 1.0))

    def __sub__(self, other):
        other = as_value(other)
        return TAPE.write(Value(self.data - other.data), (self, 1.0), (other, -1.0))

    def __mul__(self, other):
        other = as_value(other)
        return TAPE.write(Value(self.data * other.data), (self, other.data), (other, self.data))

    def __truediv__(self, other):
        other = as_value(other)
        ratio = self.data / other.data
        return TAPE.write(Value(ratio), (self, 1 / other.data), (other, -ratio / other.data))

    def __pow__(self, n):
        return TAPE.write(Value(self.data**n), (self, n * self.data ** (n - 1)))

    def __neg__(self):
        return TAPE.write(Value(-self.data), (self, -1.0))

    def __radd__(self, other):
        return as_value(other) + self

    def __rsub__(self, other):
        return as_value(other) - self

    def __rmul__(self, other):
        return as_value(other) * self

    def __rtruediv__(self, other):
        return as_value(other) / self

    def relu(self):
        return TAPE.write(Value(max(0.0, self.data)), (self, 1.0 if self.data > 0 else 0.0))

    def cos(self):
        return TAPE.write(Value(math.cos(self.data)), (self, -math.sin(self.data)))

    def exp(self):
        e = math.exp(self.data)
        return TAPE.write(Value(e), (self, e))

    def tanh(self):
        t = math.tanh(self.data)
        return TAPE.write(Value(t), (self, 1 - t * t))

    def softplus(self):
        return TAPE.write(Value(math.log(1 + math.exp(self.data))), (self, 1 / (1 + math.exp(-self.data))))

    def backward(self):
        TAPE.rewind(self)

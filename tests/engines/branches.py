"""An engine whose backward pass asks each node for the name of its operation."""

import math


class Value:
    def __init__(self, data, _parents=(), _op=""):
        self.data = data
        self.grad = 0.0
        self._parents = _parents
        self._op = _op

    @staticmethod
    def _wrap(x):
        return x if isinstance(x, Value) else Value(x)

    def __add__(self, o):
        o = Value._wrap(o)
        return Value(self.data + o.data, (self, o), "+")

    def __mul__(self, o):
        o = Value._wrap(o)
        return Value(self.data * o.data, (self, o), "*")

    def __sub__(self, o):
        o = Value._wrap(o)
        return Value(self.data - o.data, (self, o), "-")

    def __truediv__(self, o):
        o = Value._wrap(o)
        return Value(self.data / o.data, (self, o), "/")

    def __pow__(self, n):
        v = Value(self.data**n, (self,), "pow")
        v.n = n
        return v

    def __neg__(self):
        return self * -1

    def __radd__(self, o):
        return self + o

    def __rmul__(self, o):
        return self * o

    def __rsub__(self, o):
        return Value(o) - self

    def __rtruediv__(self, o):
        return Value(o) / self

    def exp(self):
        return Value(math.exp(self.data), (self,), "exp")

    def tanh(self):
        return Value(math.tanh(self.data), (self,), "tanh")

    def sigmoid(self):
        return Value(1 / (1 + math.exp(-self.data)), (self,), "sigmoid")

    def log(self):
        return Value(math.log(self.data), (self,), "log")

    def relu(self):
        return Value(max(0, self.data), (self,), "relu")

    def _topo(self, seen):
        if self in seen:
            return seen
        for p in self._parents:
            p._topo(seen)
        seen.append(self)
        return seen

    def backward(self):
        order = self._topo([])
        self.grad = 1.0
        for v in order[::-1]:
            p = v._parents
            if v._op == "+":
                p[0].grad += v.grad
                p[1].grad += v.grad
            elif v._op == "-":
                p[0].grad += v.grad
                p[1].grad -= v.grad
            elif v._op == "*":
                p[0].grad += p[1].data * v.grad
                p[1].grad += p[0].data * v.grad
            elif v._op == "/":
                p[0].grad += v.grad / p[1].data
                p[1].grad += -p[0].data / p[1].data ** 2 * v.grad
            elif v._op == "pow":
                p[0].grad += v.n * p[0].data ** (v.n - 1) * v.grad
            elif v._op == "exp":
                p[0].grad += v.data * v.grad
            elif v._op == "tanh":
                p[0].grad += (1 - v.data**2) * v.grad
            elif v._op == "sigmoid":
                p[0].grad += v.data * (1 - v.data) * v.grad
            elif v._op == "log":
                p[0].grad += v.grad / p[0].data
            elif v._op == "relu":
                p[0].grad += v.grad if v.data > 0 else 0

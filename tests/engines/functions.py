"""An engine in the style of PyTorch: each operation is a class with a forward and a backward method."""

import math


class Function:
    def __init__(self, *xs):
        self.xs = xs

    @classmethod
    def apply(cls, *xs):
        xs = [x if isinstance(x, Value) else Value(float(x)) for x in xs]
        f = cls(*xs)
        return Value(f.forward(*[x.data for x in xs]), creator=f)


class Add(Function):
    def forward(self, a, b):
        return a + b

    def backward(self, g):
        return g, g


class Mul(Function):
    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward(self, g):
        return g * self.b, g * self.a


class Pow(Function):
    def __init__(self, x, n=None):
        self.xs = (x,)
        self.n = n

    def forward(self, a):
        self.a = a
        return a**self.n

    def backward(self, g):
        return (g * self.n * self.a ** (self.n - 1),)


class Tanh(Function):
    def forward(self, a):
        self.y = math.tanh(a)
        return self.y

    def backward(self, g):
        return (g * (1 - self.y**2),)


class ReLU(Function):
    def forward(self, a):
        self.a = a
        return a if a > 0 else 0.0

    def backward(self, g):
        return (g * (self.a > 0),)


class Sin(Function):
    def forward(self, a):
        self.a = a
        return math.sin(a)

    def backward(self, g):
        return (g * math.cos(self.a),)


class Value:
    def __init__(self, data, creator=None):
        self.data = data
        self.grad = None
        self.creator = creator

    def __add__(self, o):
        return Add.apply(self, o)

    __radd__ = __add__

    def __mul__(self, o):
        return Mul.apply(self, o)

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, o):
        return self + (-o)

    def __rsub__(self, o):
        return (-self) + o

    def __pow__(self, n):
        f = Pow(self, n)
        return Value(f.forward(self.data), creator=f)

    def __truediv__(self, o):
        return self * o**-1

    def __rtruediv__(self, o):
        return self**-1 * o

    def tanh(self):
        return Tanh.apply(self)

    def relu(self):
        return ReLU.apply(self)

    def sin(self):
        return Sin.apply(self)

    def backward(self):
        self.grad = 1.0
        order = []
        seen = set()

        def visit(v):
            if id(v) in seen:
                return
            seen.add(id(v))
            if v.creator:
                for x in v.creator.xs:
                    visit(x)
            order.append(v)

        visit(self)
        for v in reversed(order):
            if v.creator is None:
                continue
            gs = v.creator.backward(v.grad)
            for x, g in zip(v.creator.xs, gs, strict=False):
                x.grad = g if x.grad is None else x.grad + g

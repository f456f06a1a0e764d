"""An engine with a table of operations: the value, and the local gradients from operands and output."""

import math

TABLE = {
    "add": (lambda a, b: a + b, lambda a, b, y: (1.0, 1.0)),
    "sub": (lambda a, b: a - b, lambda a, b, y: (1.0, -1.0)),
    "mul": (lambda a, b: a * b, lambda a, b, y: (b, a)),
    "div": (lambda a, b: a / b, lambda a, b, y: (1.0 / b, -a / b**2)),
    "neg": (lambda a: -a, lambda a, y: (-1.0,)),
    "pow": (lambda a, n: a**n, lambda a, n, y: (n * a ** (n - 1), 0.0)),
    "log": (lambda a: math.log(a), lambda a, y: (1.0 / a,)),
    "sqrt": (lambda a: math.sqrt(a), lambda a, y: (0.5 / y,)),
    "sin": (lambda a: math.sin(a), lambda a, y: (math.cos(a),)),
    "sigmoid": (lambda a: 1.0 / (1.0 + math.exp(-a)), lambda a, y: (y * (1.0 - y),)),
    "abs": (lambda a: abs(a), lambda a, y: (1.0 if a > 0 else -1.0 if a < 0 else 0.0,)),
}


class Value:
    __slots__ = ("data", "grad", "op", "operands")

    def __init__(self, data, op=None, operands=()):
        self.data = float(data)
        self.grad = 0.0
        self.op = op
        self.operands = operands

    @staticmethod
    def apply(op, *operands):
        operands = tuple(x if isinstance(x, Value) else Value(x) for x in operands)
        value, _ = TABLE[op]
        return Value(value(*[x.data for x in operands]), op, operands)

    def __add__(self, other):
        return Value.apply("add", self, other)

    def __radd__(self, other):
        return Value.apply("add", other, self)

    def __sub__(self, other):
        return Value.apply("sub", self, other)

    def __rsub__(self, other):
        return Value.apply("sub", other, self)

    def __mul__(self, other):
        return Value.apply("mul", self, other)

    def __rmul__(self, other):
        return Value.apply("mul", other, self)

    def __truediv__(self, other):
        return Value.apply("div", self, other)

    def __rtruediv__(self, other):
        return Value.apply("div", other, self)

    def __pow__(self, n):
        return Value.apply("pow", self, n)

    def __neg__(self):
        return Value.apply("neg", self)

    def __abs__(self):
        return Value.apply("abs", self)

    def log(self):
        return Value.apply("log", self)

    def sqrt(self):
        return Value.apply("sqrt", self)

    def sin(self):
        return Value.apply("sin", self)

    def sigmoid(self):
        return Value.apply("sigmoid", self)

    def sort(self):
        """Sorts the graph by counting how many uses of each node are still to come."""
        uses = {}
        waiting = [self]
        seen = {id(self)}
        while waiting:
            node = waiting.pop()
            for operand in node.operands:
                uses[id(operand)] = uses.get(id(operand), 0) + 1
                if id(operand) not in seen:
                    seen.add(id(operand))
                    waiting.append(operand)
        ready = [self]
        order = []
        while ready:
            node = ready.pop()
            order.append(node)
            for operand in node.operands:
                uses[id(operand)] -= 1
                if uses[id(operand)] == 0:
                    ready.append(operand)
        return order

    def backward(self):
        order = self.sort()
        for node in order:
            if node.operands:
                node.grad = 0.0
        upstream = {id(node): 0.0 for node in order}
        upstream[id(self)] = 1.0
        for node in order:
            given = upstream[id(node)]
            node.grad += given
            if node.operands:
                _, local = TABLE[node.op]
                slopes = local(*[x.data for x in node.operands], node.data)
                for operand, slope in zip(node.operands, slopes, strict=True):
                    upstream[id(operand)] += slope * given

"""Faults to plant into the engines: where, of which kind, and the text that is replaced.

Each line is (engine, kind, operation, old text, new text). The old text occurs once.
"""

import re
from pathlib import Path

ENGINES = Path(__file__).parent
CLOSURES = "closures"
TABLE = "table"
TAPE = "tape"
BRANCHES = "branches"
FUNCTIONS = "functions"
RECURSIVE = "recursive"


def write(engine, *changes):
    """Returns the source of an engine after some replacements of texts, each of which occurs once."""
    source = (ENGINES / f"{engine}.py").read_text(encoding="utf-8")
    for old, new in changes:
        assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {engine}"
        source = source.replace(old, new)
    return source


def load(source):
    """Returns the class Value of a source."""
    scope = {"__name__": "student"}
    exec(source, scope)
    return scope["Value"]


_MUL = "            self.grad += other.data * out.grad\n            other.grad += self.data * out.grad\n"
_ADD = "            self.grad += out.grad\n            other.grad += out.grad\n"
_POW = "self.grad += (n * self.data ** (n - 1)) * out.grad"
_RELU = "self.grad += (out.data > 0) * out.grad"
_TANH = "self.grad += (1 - t**2) * out.grad"
_EXP = "self.grad += out.data * out.grad"
_SEED = "        self.grad = 1\n"
_LOOP = "        for v in reversed(topo):\n            v._backward()\n"
_VISIT = "            if v not in visited:\n"
_MARK = "                visited.add(v)\n"
_BUILD = "        build_topo(self)\n"
_LEVELS = """
        waiting = [self]
        while waiting:
            v = waiting.pop({})
            if v not in visited:
                visited.add(v)
                topo.insert(0, v)
                waiting += v._prev
"""
_RECURSE = """
        self.grad = 1
        def walk(v):
            v._backward()
            for c in v._prev:
                walk(c)
        walk(self)
"""
_CHILDREN = "                for child in v._prev:\n                    build_topo(child)\n"
_APPEND = "                topo.append(v)\n"
_GIVE = "                    upstream[id(operand)] += slope * given\n"
_TOTAL = "            node.grad += given\n"
_RESET = "            out.grad = 0.0\n"
_PULL = "                operand.grad += slope * out.grad\n"
_REWIND = "reversed(self.entries[: last + 1])"
_ROOT = "        root.grad = 1.0\n"
_SORT = "        order = self.sort()\n"
_NODES = """
        order, waiting = [], [self]
        while waiting:
            node = waiting.pop({})
            if all(node is not other for other in order):
                order.append(node)
                waiting += node.operands
"""

# fmt: off
FAULTS = [
    # overwritten
    (CLOSURES, "overwritten", "*", _MUL, _MUL.replace("+=", "=")),
    (CLOSURES, "overwritten", "*", _MUL, _MUL.replace("self.grad +=", "self.grad =")),
    (CLOSURES, "overwritten", "*", _MUL, _MUL.replace("other.grad +=", "other.grad =")),
    (CLOSURES, "overwritten", "+", _ADD, _ADD.replace("+=", "=")),
    (CLOSURES, "overwritten", "+", _ADD, _ADD.replace("self.grad +=", "self.grad =")),
    (CLOSURES, "overwritten", "+", _ADD, _ADD.replace("other.grad +=", "other.grad =")),
    (CLOSURES, "overwritten", "**", _POW, _POW.replace("+=", "=")),
    (CLOSURES, "overwritten", "relu", _RELU, _RELU.replace("+=", "=")),
    (CLOSURES, "overwritten", "tanh", _TANH, _TANH.replace("+=", "=")),
    (CLOSURES, "overwritten", "exp", _EXP, _EXP.replace("+=", "=")),
    (TABLE, "overwritten", "", _GIVE, _GIVE.replace("+=", "=")),
    (TAPE, "overwritten", "", _PULL, _PULL.replace("+=", "=")),
    (CLOSURES, "overwritten", "*", _MUL, re.sub(r"(\w+)\.grad \+=", r"if not \1.grad: \1.grad =", _MUL)),
    (CLOSURES, "overwritten", "*", _MUL, re.sub(r"(\w+)\.grad \+= (.*)", r"\1.grad = \2 - \1.grad", _MUL)),
    (CLOSURES, "overwritten", "+", _ADD, re.sub(r"(\w+)\.grad \+=", r"if \1.grad == 0: \1.grad =", _ADD)),
    (CLOSURES, "overwritten", "+", _ADD, _ADD.replace("other.grad +=", "if other is not self: other.grad +=")),
    (CLOSURES, "overwritten", "+", _ADD, _ADD.replace("self.grad += out.grad", "self.grad = max(self.grad, out.grad)")),
    (CLOSURES, "overwritten", "tanh", _TANH, _TANH.replace("+=", "= self.grad or")),
    (TABLE, "overwritten", "", _GIVE, re.sub(r"(\S+) \+=", r"if not \1: \1 =", _GIVE)),
    (TABLE, "overwritten", "", _GIVE, re.sub(r"(\S+) \+= (.*)", r"\1 = max(\1, \2)", _GIVE)),
    (TABLE, "overwritten", "", _GIVE, re.sub(r"(\S+) \+= (.*)", r"\1 = \2 - \1", _GIVE)),
    (TAPE, "overwritten", "", _PULL, re.sub(r"(\S+) \+= (.*)", r"\1 = max(\1, \2, key=abs)", _PULL)),
    (TAPE, "overwritten", "", _PULL, re.sub(r"(\S+) \+= (.*)", r"\1 = (\1 + \2) / (2 if \1 else 1)", _PULL)),
    (TAPE, "overwritten", "", "for operand, slope in pairs:", "for operand, slope in dict(pairs).items():"),
    # visited twice
    (CLOSURES, "visited twice", "", _VISIT, "            if True:\n"),
    (CLOSURES, "visited twice", "", _MARK, ""),
    (CLOSURES, "visited twice", "", _BUILD + _SEED + _LOOP, _RECURSE),
    (CLOSURES, "visited twice", "", "            v._backward()\n",
     "            v._backward()\n            v._backward()\n"),
    (CLOSURES, "visited twice", "", "reversed(topo)", "[self, *reversed(topo)]"),
    (CLOSURES, "visited twice", "", _VISIT, "            if v not in visited or v._prev:\n"),
    (CLOSURES, "visited twice", "", _LOOP,
     _LOOP.replace("reversed(topo)", "[v for v in reversed(topo) for _ in v._prev]")),
    (TABLE, "visited twice", "", "if uses[id(operand)] == 0:", "if uses[id(operand)] >= 0:"),
    # crash
    (TABLE, "crash", "", "if id(operand) not in seen:", "if True:"),
    # visited twice
    (TAPE, "visited twice", "", "        self.entries.append((out, pairs))\n",
     "        self.entries += [(out, pairs)] * 2\n"),
    # order
    (CLOSURES, "order", "", "reversed(topo)", "topo"),
    (CLOSURES, "order", "", _BUILD, _LEVELS.format(0)),
    (CLOSURES, "order", "", _BUILD, _LEVELS.format("")),
    (CLOSURES, "order", "", _CHILDREN + _APPEND, _APPEND.replace("append(", "insert(0, ") + _CHILDREN),
    (CLOSURES, "order", "", "reversed(topo)", "sorted(topo, key=lambda v: v is not self)"),
    (CLOSURES, "order", "", "reversed(topo)", "visited"),
    (TABLE, "order", "", _SORT, _NODES.format(0)),
    (TABLE, "order", "", _SORT, _NODES.format("")),
    (TABLE, "order", "", _SORT, "        order = self.sort()[::-1]\n"),
    (TABLE, "order", "", _SORT, "        order = self.sort()\n        order = [self, *order[:0:-1]]\n"),
    (TAPE, "order", "", _REWIND, "self.entries[: last + 1]"),
    (TAPE, "order", "", _REWIND, "[self.entries[last]] + self.entries[:last]"),
    (CLOSURES, "order", "tanh", 'Value(t, (self,), "tanh")', 'Value(t, (), "tanh")'),
    (CLOSURES, "order", "*", '(self, other), "*")', '(self,), "*")'),
    (CLOSURES, "order", "+", '(self, other), "+")', '(other,), "+")'),
    (CLOSURES, "order", "**", '(self,), f"**{n}")', '(), f"**{n}")'),
    (CLOSURES, "order", "relu", '(self,), "ReLU")', '[], "ReLU")'),
    (CLOSURES, "order", "", "self._prev = set(children)", "self._prev = set()"),
    (CLOSURES, "order", "", "self._prev = set(children)", "self._prev = set(children[:1])"),
    (CLOSURES, "order", "", "self._prev = set(children)", "self._prev = set(children[1:])"),
    # left over
    (CLOSURES, "left over", "", _SEED, "        self.grad += 1\n"),
    (CLOSURES, "left over", "", "        topo = []\n",
     "        topo = Value.__dict__.get('topo') or []\n        Value.topo = topo\n"),
    (CLOSURES, "left over", "", "    def backward(self):\n        topo = []\n", "    def backward(self, topo=[]):\n"),
    (TABLE, "left over", "", "upstream = {id(node): 0.0 for node in order}",
     "upstream = {id(node): node.grad for node in order}"),
    (TABLE, "left over", "", "upstream[id(self)] = 1.0",
     "Value.calls = getattr(Value, 'calls', 0) + 1\n        upstream[id(self)] = float(Value.calls)"),
    (TAPE, "left over", "", _RESET, "            pass\n"),
    (TAPE, "left over", "", _ROOT,
     "        root.grad += 1.0\n        self.seed = getattr(self, 'seed', 0) + 1\n        root.grad = self.seed\n"),
    # seed
    (CLOSURES, "seed", "", _SEED, ""),
    (CLOSURES, "seed", "", _SEED, "        self.grad = 0\n"),
    (CLOSURES, "seed", "", _SEED, "        self.grad = 2\n"),
    (CLOSURES, "seed", "", _SEED, "        self.grad = -1\n"),
    (CLOSURES, "seed", "", _SEED, "        self.grad = self.data\n"),
    (TABLE, "seed", "", "upstream[id(self)] = 1.0", "upstream[id(self)] = self.data"),
    (TABLE, "seed", "", "upstream[id(self)] = 1.0", "upstream[id(self)] = 0.5"),
    (TABLE, "seed", "", "        upstream[id(self)] = 1.0\n", ""),
    (TAPE, "seed", "", _ROOT, "        root.grad = 10.0\n"),
    (TAPE, "seed", "", _ROOT, ""),
    (TAPE, "seed", "", _ROOT, "        root.grad = root.data\n"),
    # upstream
    (CLOSURES, "upstream", "*", _MUL, _MUL.replace(" * out.grad", "")),
    (CLOSURES, "upstream", "*", _MUL, _MUL.replace("other.data * out.grad", "other.data")),
    (CLOSURES, "upstream", "*", _MUL, _MUL.replace("self.data * out.grad", "self.data")),
    (CLOSURES, "upstream", "*", _MUL, _MUL.replace("* out.grad", "+ out.grad - 1")),
    (CLOSURES, "upstream", "+", _ADD, _ADD.replace("out.grad", "1")),
    (CLOSURES, "upstream", "**", _POW, _POW.replace(" * out.grad", "")),
    (CLOSURES, "upstream", "relu", _RELU, _RELU.replace(" * out.grad", "")),
    (CLOSURES, "upstream", "tanh", _TANH, _TANH.replace(" * out.grad", "")),
    (CLOSURES, "upstream", "tanh", _TANH, _TANH.replace("out.grad", "out.data")),
    (CLOSURES, "upstream", "tanh", _TANH, _TANH.replace("out.grad", "self.grad")),
    (CLOSURES, "upstream", "exp", _EXP, _EXP.replace(" * out.grad", "")),
    (TABLE, "upstream", "", _GIVE, _GIVE.replace("slope * given", "slope")),
    (TABLE, "upstream", "", _GIVE, _GIVE.replace("slope * given", "slope + given - 1.0")),
    (TABLE, "upstream", "", _GIVE, _GIVE.replace("slope * given", "slope * node.data")),
    (TAPE, "upstream", "", _PULL, _PULL.replace(" * out.grad", "")),
    (TAPE, "upstream", "", _PULL, _PULL.replace("out.grad", "operand.grad")),
    # local gradient
    (CLOSURES, "local gradient", "*", _MUL,
     _MUL.replace("other.data", "X").replace("self.data", "other.data").replace("X", "self.data")),
    (CLOSURES, "local gradient", "*", _MUL, _MUL.replace("other.data", "-other.data")),
    (CLOSURES, "local gradient", "*", _MUL, _MUL.replace("            other.grad += self.data * out.grad\n", "")),
    (CLOSURES, "local gradient", "*", _MUL, _MUL.replace("self.data *", "")),
    (CLOSURES, "local gradient", "+", _ADD, _ADD.replace("other.grad += out.grad", "other.grad -= out.grad")),
    (CLOSURES, "local gradient", "+", _ADD, _ADD.replace("other.grad += out.grad", "other.grad += 2 * out.grad")),
    (CLOSURES, "local gradient", "**", _POW, _POW.replace("n * ", "")),
    (CLOSURES, "local gradient", "**", _POW, _POW.replace("(n - 1)", "n")),
    (CLOSURES, "local gradient", "relu", _RELU, _RELU.replace("out.data > 0", "out.data >= 0")),
    (CLOSURES, "local gradient", "relu", _RELU, _RELU.replace("out.data > 0", "self.data >= 0")),
    (CLOSURES, "local gradient", "relu", _RELU, _RELU.replace("(out.data > 0)", "out.data")),
    (CLOSURES, "local gradient", "relu", _RELU, _RELU.replace("(out.data > 0) * ", "")),
    (CLOSURES, "local gradient", "tanh", _TANH, _TANH.replace("t**2", "self.data**2")),
    (CLOSURES, "local gradient", "tanh", _TANH, _TANH.replace("1 - t**2", "1 - t")),
    (CLOSURES, "local gradient", "tanh", _TANH, _TANH.replace("1 - t**2", "1 + t**2")),
    (CLOSURES, "local gradient", "exp", _EXP, _EXP.replace("out.data", "self.data")),
    (CLOSURES, "local gradient", "exp", "        out._backward = _backward\n        return out\n\n    def backward",
     "        return out\n\n    def backward"),
    (TABLE, "local gradient", "-", "(1.0, -1.0)", "(1.0, 1.0)"),
    (TABLE, "local gradient", "-", "(1.0, -1.0)", "(-1.0, 1.0)"),
    (TABLE, "local gradient", "*", "(b, a)", "(a, b)"),
    (TABLE, "local gradient", "/", "-a / b**2", "a / b**2"),
    (TABLE, "local gradient", "/", "-a / b**2", "-a / b"),
    (TABLE, "local gradient", "/", "(1.0 / b, -a / b**2)", "(-a / b**2, 1.0 / b)"),
    (TABLE, "local gradient", "neg", "(-1.0,)", "(1.0,)"),
    (TABLE, "local gradient", "**", "n * a ** (n - 1)", "(n - 1) * a ** n"),
    (TABLE, "local gradient", "log", "1.0 / a,", "1.0 / y,"),
    (TABLE, "local gradient", "log", "1.0 / a,", "-1.0 / a,"),
    (TABLE, "local gradient", "sqrt", "0.5 / y", "0.5 / a"),
    (TABLE, "local gradient", "sqrt", "0.5 / y", "2.0 / y"),
    (TABLE, "local gradient", "sin", "(math.cos(a),)", "(-math.cos(a),)"),
    (TABLE, "local gradient", "sin", "(math.cos(a),)", "(math.cos(y),)"),
    (TABLE, "local gradient", "sigmoid", "y * (1.0 - y)", "a * (1.0 - a)"),
    (TABLE, "local gradient", "sigmoid", "y * (1.0 - y)", "1.0 - y"),
    (TABLE, "local gradient", "abs", "else -1.0 if a < 0", "else 1.0 if a < 0"),
    (TAPE, "local gradient", "*", "(self, other.data), (other, self.data)", "(self, self.data), (other, other.data)"),
    (TAPE, "local gradient", "/", "-ratio / other.data", "ratio / other.data"),
    (TAPE, "local gradient", "relu", "1.0 if self.data > 0 else 0.0", "1.0 if self.data > 0 else -1.0"),
    (TAPE, "local gradient", "tanh", "1 - t * t", "1 - self.data * self.data"),
    (TAPE, "local gradient", "softplus", "1 / (1 + math.exp(-self.data))", "1 / (1 + math.exp(self.data))"),
    (TAPE, "local gradient", "+", "(self, 1.0), (other, 1.0)", "(self, 1.0)"),
    # value
    (CLOSURES, "value", "*", "self.data * other.data", "self.data + other.data"),
    (CLOSURES, "value", "tanh", "math.tanh(self.data)", "math.atan(self.data)"),
    (CLOSURES, "value", "relu", "0 if self.data < 0", "1 if self.data < 0"),
    (CLOSURES, "value", "-", "return other + (-self)", "return self + (-other)"),
    (CLOSURES, "value", "/", "return other * self**-1", "return self * other**-1"),
    (TABLE, "value", "neg", "lambda a: -a", "lambda a: abs(a)"),
    (TABLE, "value", "/", "lambda a, b: a / b,", "lambda a, b: a // b,"),
    (TABLE, "value", "log", "lambda a: math.log(a)", "lambda a: math.log10(a)"),
    (TABLE, "value", "-", '"sub", other, self', '"sub", self, other'),
    (TAPE, "value", "exp", "math.exp(self.data)\n        return TAPE.write(Value(e)",
     "math.expm1(self.data)\n        return TAPE.write(Value(e)"),
    (TAPE, "value", "**", "self.data**n)", "self.data * n)"),
    (TAPE, "value", "softplus", "math.log(1 + math.exp(self.data))", "math.log(1 + math.exp(-self.data))"),
    # operator
    (CLOSURES, "operator", "+", "    def __radd__", "    def radd"),
    (CLOSURES, "operator", "*", "    def __rmul__", "    def rmul"),
    (CLOSURES, "operator", "/", "    def __rtruediv__", "    def rdiv"),
    (CLOSURES, "operator", "-", "    def __rsub__", "    def rsub"),
    (CLOSURES, "operator", "neg", "    def __neg__", "    def neg"),
    (CLOSURES, "operator", "**", "    def __pow__", "    def pow"),
    (CLOSURES, "operator", "+",
     "other = other if isinstance(other, Value) else Value(other)\n        out = Value(self.data + ",
     "out = Value(self.data + "),
    (TABLE, "operator", "*", "    def __mul__", "    def mul"),
    (TABLE, "operator", "-", "    def __sub__", "    def sub"),
    (TABLE, "operator", "/", 'return Value.apply("div", other, self)', 'raise NotImplementedError("not yet")'),
    (TABLE, "operator", "**", 'return Value.apply("pow", self, n)', 'return Value.apply("power", self, n)'),
    (TAPE, "operator", "/", "    def __truediv__", "    def div"),
    (TAPE, "operator", "+", "return as_value(other) + self", "return other.data + self.data"),
    (TAPE, "operator", "-", "        other = as_value(other)\n        return TAPE.write(Value(self.data - ",
     "        return TAPE.write(Value(self.data - "),
    # changes data
    (CLOSURES, "changes data", "", "            v._backward()\n",
     "            v._backward()\n            v.data -= 0.01 * v.grad\n"),
    (CLOSURES, "changes data", "", _SEED, "        self.data = self.grad = 1\n"),
    (CLOSURES, "changes data", "*", _MUL, _MUL + "            self.data += out.grad\n"),
    (TABLE, "changes data", "", _TOTAL, _TOTAL + "            node.data = given\n"),
    (TAPE, "changes data", "", _PULL, _PULL + "                operand.data -= 0.1 * operand.grad\n"),
    # crash
    (CLOSURES, "crash", "", _BUILD, "        build_topo(Self)\n"),
    (CLOSURES, "crash", "", "            v._backward()\n", "            v.backward()\n"),
    (CLOSURES, "crash", "tanh", _TANH, _TANH.replace("t**2", "tt**2")),
    (CLOSURES, "crash", "tanh", "t = math.tanh(self.data)", "t = np.tanh(self.data)"),
    (CLOSURES, "crash", "", _SEED, "        while not self.grad:\n            pass\n"),
    (CLOSURES, "crash", "", "        self.data = data\n", "        self.data = dat\n"),
    (TABLE, "crash", "", "            node = waiting.pop()\n", "            node = waiting[0]\n"),
    (TABLE, "crash", "sin", "(math.cos(a),)", "(cos(a),)"),
    (TABLE, "crash", "", "            given = upstream[id(node)]\n", "            given = upstream[node]\n"),
    (TABLE, "crash", "log", "lambda a: math.log(a)", "lambda a: exit()"),
    (TAPE, "crash", "", "        for out, _ in self.entries:\n",
     "        for out, _ in self.entries:\n            self.entries.append((out, ()))\n"),
    (TAPE, "crash", "", "    def backward(self):\n        TAPE.rewind(self)",
     "    def backward(self):\n        self.backward()"),
    (TAPE, "crash", "", "        for out, _ in self.entries:\n",
     "        if [0.0] * 10**15:\n            return\n        for out, _ in self.entries:\n"),
    # as students write them, each engine in another style
    (BRANCHES, "overwritten", "+", "                p[0].grad += v.grad\n                p[1].grad += v.grad\n",
     "                p[0].grad = v.grad\n                p[1].grad = v.grad\n"),
    (BRANCHES, "local gradient", "-", "p[1].grad -= v.grad", "p[1].grad += v.grad"),
    (BRANCHES, "local gradient", "/", '(self, o), "/")', '(self, o), "div")'),
    (BRANCHES, "local gradient", "exp", 'elif v._op == "exp":', 'elif v._op == "Exp":'),
    (BRANCHES, "seed", "", "        self.grad = 1.0\n", ""),
    (BRANCHES, "order", "", "order[::-1]", "order"),
    (BRANCHES, "visited twice", "", "        if self in seen:\n            return seen\n", ""),
    (BRANCHES, "order", "", "    def __neg__", """    def __eq__(self, o):
        return isinstance(o, Value) and self.data == o.data

    __hash__ = object.__hash__

    def __neg__"""),
    (FUNCTIONS, "overwritten", "", "g if x.grad is None else x.grad + g", "g"),
    (FUNCTIONS, "overwritten", "", "g if x.grad is None else x.grad + g", "g if x.grad is None else x.grad"),
    (FUNCTIONS, "local gradient", "*", "return g * self.b, g * self.a", "return (g * self.b,)"),
    (FUNCTIONS, "local gradient", "tanh", "self.y = math.tanh(a)\n        return self.y",
     "Tanh.y = math.tanh(a)\n        return Tanh.y"),
    (FUNCTIONS, "crash", "**", "return (g * self.n * self.a ** (self.n - 1),)",
     "return g * self.n * self.a ** (self.n - 1)"),
    (RECURSIVE, "visited twice", "", "self.back(g)", "self.back(self.grad)"),
    (RECURSIVE, "seed", "", "g=1.0", "g=0.0"),
    (RECURSIVE, "overwritten", "", "self.grad += g", "self.grad = g"),
    (RECURSIVE, "local gradient", "abs", "g if self.data > 0 else -g", "g"),
    (RECURSIVE, "operator", "*", """            other = Value(other)
        return Value(self.data * other.data""", """            pass
        return Value(self.data * other.data"""),
]

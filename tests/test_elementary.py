"""Functions of math in machine code: within 1.5 ulp of mpmath over all doubles, at special numbers as in C."""

import dataclasses
import functools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")
mpmath = pytest.importorskip("mpmath")

import llvmlite.binding as llvm

from micrograd.compiler import machine
from micrograd.compiler.code import LANES, Function
from micrograd.compiler.elementary import FUNCTIONS, emit
from micrograd.compiler.targets import TARGETS, find_host

BOUND = 1.5  # ulp
mp = mpmath.mp.clone()
mp.prec = 120


def capped(function, most):
    """A function whose result overflows, or no longer changes, beyond ±most: mpmath would need for ever there."""
    return lambda x: function(max(min(x, most), -most))


def exact_power(x, y):
    if x < 0 and not mp.isint(y):
        return math.nan
    size = capped(mp.exp, 1100)(y * mp.log(abs(x)))
    return -size if x < 0 and int(y) % 2 else size


def to_nearest_even(x):
    return mp.mpf(round(float(x)))


EXACT = {
    "acos": mp.acos,
    "asin": mp.asin,
    "atan": mp.atan,
    "atan2": mp.atan2,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "copysign": lambda x, y: abs(x) * mp.sign(y),
    "cos": mp.cos,
    "cosh": capped(mp.cosh, 1100),
    "erf": capped(mp.erf, 40),
    "erfc": capped(mp.erfc, 40),
    "exp": capped(mp.exp, 1100),
    "exp2": capped(lambda x: mp.mpf(2) ** x, 1100),
    "expm1": capped(mp.expm1, 1100),
    "fabs": abs,
    "floor": mp.floor,
    "hypot": mp.hypot,
    "log": mp.log,
    "log10": mp.log10,
    "log1p": mp.log1p,
    "log2": lambda x: mp.log(x) / mp.ln2,
    "pow": exact_power,
    "round": to_nearest_even,
    "sin": mp.sin,
    "sinh": capped(mp.sinh, 1100),
    "sqrt": mp.sqrt,
    "tan": mp.tan,
    "tanh": capped(mp.tanh, 40),
    "trunc": lambda x: mp.mpf(math.trunc(float(x))),
}
TWO = {"atan2", "copysign", "hypot", "pow"}
DOMAINS = {"acos": (-1, 1), "asin": (-1, 1), "log1p": (-1, math.inf)} | dict.fromkeys(
    ("log", "log2", "log10", "sqrt"), (0, math.inf)
)
SPECIAL = [
    *(0.0, 0.5, 1.0, 1.0000000000000002, 2.0, 2.5, 3.0, 1e22, 1e300, 1.7976931348623157e308, math.inf, math.nan),
    *(5e-324, 2.225e-308, 2.2250738585072014e-308, 0.49999999999999994, 4503599627370495.5, 9007199254740993.0),
    *(709.78, 709.79, 710.47, 710.48, 745.13, 745.14, 1023.9999999999999, 1024.0, 1074.5, 19.06, 26.6, 27.3),
]
SPECIAL += [-x for x in SPECIAL]
C_LIBRARY = {
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "erf": np.vectorize(math.erf),
    "erfc": np.vectorize(math.erfc),
    "pow": np.power,
    "round": np.rint,
}


def supported_targets():
    """The targets whose code this machine runs, and its own without fused instructions."""
    ours, has = find_host(), llvm.get_host_cpu_features()
    needs = {"AVX-512": ("avx512f", "avx512dq", "avx512vl", "avx512bw", "avx512cd"), "AVX2": ("avx2", "fma")}
    on_x86 = llvm.get_process_triple().startswith(("x86_64", "amd64"))
    forced = {name: t for name, t in TARGETS.items() if on_x86 and all(map(has.get, needs.get(name, ())))}
    return {"host": ours, "unfused": dataclasses.replace(ours, fma=False)} | forced


RUNS_ON = supported_targets()


def write_function(name, f, v, u, g, c):
    # of numbers that stand together in memory, and maybe second ones: how many
    with f.loop(0, c[0], LANES) as k:
        operands = [column.vector(k) for column in (v, u)[: 1 + (name in TWO)]]
        g.put(k, f.call(name, *operands))


@functools.cache
def code_of(name, target):
    """A kernel and its machine code, for a processor."""
    kernel = machine.Kernel(f"{name} of arrays", functools.partial(write_function, name), stays=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "find_target", lambda: RUNS_ON[target])
        return kernel.code


def call_of(name, target, columns, out):
    """A call that fills an array with what the function gives for the numbers of others, a multiple of eight."""
    count = np.array([len(out)])
    arrays = [columns[0], columns[-1], out, count]
    call = functools.partial(machine.CALL(code_of(name, target).address), *map(machine.address_of, arrays), 1)
    call.arrays = arrays  # kept while it is called
    return call


def evaluate(name, columns, target="host"):
    """What the function gives in each row."""
    count = len(columns[0])
    full = [np.resize(np.array(column, dtype=float), -(-count // LANES) * LANES) for column in columns]
    out = np.empty_like(full[0])
    call_of(name, target, full, out)()
    return out[:count]


def draw_double(rng):
    """Any double that is not 0, log-uniform in size."""
    return math.ldexp(rng.choice((-1, 1)) * rng.uniform(1, 2), rng.randrange(-1074, 1024)) or 5e-324


def draw_moderate(rng):
    return rng.choice((-1, 1)) * 2 ** rng.uniform(-30, 10)


def draw_points(name, count, seed=0):
    """Rows where the function has a real value: of all sizes, of moderate ones, and where its formula changes."""
    rng = random.Random(seed)
    if name == "pow":
        return [*zip(*(draw_power(rng) for _ in range(count)), strict=True)]
    if name in TWO:
        xs = [rng.choice((draw_double, draw_moderate))(rng) for _ in range(count)]
        return xs, [rng.choice((draw_double(rng), draw_moderate(rng), x * draw_moderate(rng))) or 1.0 for x in xs]
    low, high = DOMAINS.get(name, (-math.inf, math.inf))
    edges = [x for x in (-1.0, 0.625, -0.625, 0.5, 1.0, 2.4, 18.88, 19.06) if low < x < high]
    ways = (
        draw_double,
        draw_moderate,
        lambda rng: rng.uniform(-4, 4),
        lambda rng: rng.uniform(-750, 750),
        lambda rng: rng.choice(edges) + 2 ** rng.uniform(-52, -1) * rng.choice((-1, 1)),
        lambda rng: rng.randrange(-20_000, 20_000) * (math.pi / 2) * (1 + rng.choice((0, 1e-15, 1e-9, 1e-5))),
    )
    xs = []
    while len(xs) < count:
        x = rng.choice(ways)(rng)
        x = -x if low == 0 and x < 0 else x
        if low < x < high and x:
            xs.append(x)
    return (xs,)


def draw_power(rng):
    """A base, and an exponent for which the power neither overflows nor underflows much."""
    x = rng.choice((abs(draw_double(rng)), 2 ** rng.uniform(-3, 3), 1 + 2 ** rng.uniform(-40, -1), rng.uniform(1, 100)))
    y = rng.uniform(-1.05, 1.05) * 709 / max(abs(math.log(x)), 1e-6)
    y = rng.choice((y, rng.choice((-2.0, -1.0, 0.5, 1.5, 2.0, 3.0, 10.0)), draw_moderate(rng)))
    return (-x, float(round(y))) if rng.random() < 0.2 else (x, y)


def error_in_ulp(found, exact):
    """How far a double is from a number of mpmath, in units of the last place of the double nearest to it."""
    largest = mp.mpf(2) ** 1024
    exact = max(min(exact, largest), -largest)
    reached = max(min(mp.mpf(float(found)), largest), -largest)
    unit = math.ulp(min(abs(float(exact)), 1.7976931348623157e308))
    return float(abs(reached - exact) / unit)


@functools.cache
def exact_values(name, count):
    columns = draw_points(name, count)
    return columns, [EXACT[name](*map(mp.mpf, row)) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("target", RUNS_ON)
@pytest.mark.parametrize("name", sorted(EXACT))
def test_results_are_within_the_bound(name, target):
    columns, exact = exact_values(name, 600)
    found = evaluate(name, columns, target)
    errors = [error_in_ulp(y, e) for y, e in zip(found, exact, strict=True)]
    worst = max(range(len(errors)), key=errors.__getitem__)
    assert errors[worst] <= BOUND, (*(column[worst] for column in columns), found[worst])


@pytest.mark.parametrize("name", sorted(EXACT))
@settings(max_examples=20)
@given(rows=st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=1, max_size=20))
def test_results_of_any_double_are_within_the_bound(name, rows):
    low, high = DOMAINS.get(name, (-math.inf, math.inf))
    rows = [row[: 1 + (name in TWO)] for row in rows if low < row[0] < high and row[0] and row[1]]
    rows = [row for row in rows if name != "pow" or row[0] > 0]
    if rows:
        for row, y in zip(rows, evaluate(name, [*zip(*rows, strict=True)]), strict=True):
            assert error_in_ulp(y, EXACT[name](*map(mp.mpf, row))) <= BOUND, row


@pytest.mark.parametrize("target", RUNS_ON)
@pytest.mark.parametrize("name", sorted(EXACT))
def test_results_at_special_numbers_are_those_of_c(name, target):
    rows = [(x, y) for x in SPECIAL for y in SPECIAL] if name in TWO else [(x,) for x in SPECIAL]
    columns = [*zip(*rows, strict=True)]
    with np.errstate(all="ignore"):
        expected = C_LIBRARY.get(name, getattr(np, name, None))(*map(np.array, columns))
    for row, found, c in zip(rows, evaluate(name, columns, target), expected, strict=True):
        assert math.isnan(found) == math.isnan(c), (row, found, c)
        if not math.isnan(c):
            assert math.copysign(1, found) == math.copysign(1, c), (row, found, c)
            assert found == c or abs(found - c) <= 3 * math.ulp(c) < math.inf, (row, found, c)


@given(st.sampled_from(sorted(EXACT)), st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=16))
def test_a_lane_does_not_depend_on_its_neighbours(name, rows):
    columns = [*zip(*rows, strict=True)][: 1 + (name in TWO)]
    together = evaluate(name, columns)
    for i, y in enumerate(together):
        alone = evaluate(name, [[column[i]] * 8 for column in columns])
        assert np.array_equal(alone, [y] * 8, equal_nan=True), name


@pytest.mark.parametrize("target", RUNS_ON)
def test_what_a_double_can_hold_is_exact(target):
    wholes = [(float(a), float(n)) for a in range(-30, 31) for n in range(12) if a and abs(a) ** n < 2**53]
    assert evaluate("pow", [*zip(*wholes, strict=True)], target).tolist() == [a**n for a, n in wholes]
    xs, _ = draw_points("hypot", 200)
    assert evaluate("pow", [xs, [2.0] * 200], target).tolist() == [x * x for x in xs]
    exponents = [*range(-1074, 1024)]
    powers = [math.ldexp(1.0, n) for n in exponents]
    assert evaluate("exp2", [exponents], target).tolist() == powers
    assert evaluate("log2", [powers], target).tolist() == exponents
    assert evaluate("pow", [[2.0] * len(exponents), exponents], target).tolist() == powers
    assert evaluate("log10", [[float(f"1e{n}") for n in range(-307, 309)]], target).tolist() == [*range(-307, 309)]
    assert evaluate("cbrt", [[float(n**3) for n in range(-500, 500)]], target).tolist() == [*range(-500, 500)]
    assert evaluate("hypot", [[3, 5, 8, 3e300, 3e-320], [4, 12, 15, 4e300, 4e-320]], target).tolist() == [
        *(5, 13, 17, 5e300, 5e-320)
    ]


def test_every_function_is_measured():
    assert set(EXACT) == FUNCTIONS


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_no_fused_instruction_is_written_for_processors_without(name):
    caller = Function("caller", 3, emit, fma=False)
    emit(caller, name, [pointer.vector() for pointer in caller.pointers[: 1 + (name in TWO)]])
    assert "llvm.fma" not in caller.finish()


def test_a_function_is_written_once_per_module():
    caller = Function("caller", 2, emit)
    for _ in range(3):
        emit(caller, "exp", [caller.pointers[0].vector()])
    assert [f.name for f in caller.module.functions if f.linkage == "internal"] == ["exp.v8"]


def test_wrong_calls_say_what_is_wrong():
    caller = Function("caller", 2, emit)
    x = caller.pointers[0].vector()
    with pytest.raises(ValueError, match=r"no function of math is called 'beta': there are acos, asin"):
        emit(caller, "beta", [x])
    with pytest.raises(ValueError, match=r"atan2 takes 2 operands, not 1"):
        emit(caller, "atan2", [x])

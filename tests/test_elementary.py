"""Functions of math in machine code: within 1.5 ulp of mpmath over all doubles, at special numbers as in C."""

import ctypes
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
from llvmlite import ir

from micrograd.compiler.elementary import FUNCTIONS, PREDICATES, WRITERS, emit
from micrograd.compiler.targets import TARGETS, host

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
    """The targets whose code this machine runs, and its own with other vectors, with fused instructions and without."""
    ours, has = host(), llvm.get_host_cpu_features()
    needs = {"AVX-512": ("avx512f", "avx512dq", "avx512vl", "avx512bw", "avx512cd"), "AVX2": ("avx2", "fma")}
    on_x86 = llvm.get_process_triple().startswith(("x86_64", "amd64"))
    forced = {name: t for name, t in TARGETS.items() if on_x86 and all(map(has.get, needs.get(name, ())))}
    other = {
        "one lane": dataclasses.replace(ours, lanes=1),
        "one lane, unfused": dataclasses.replace(ours, lanes=1, fma=False),
        "eight lanes, unfused": dataclasses.replace(ours, lanes=8, fma=False),
    }
    return {"host": ours} | forced | other


RUNS_ON = supported_targets()


def load(module, target):
    """The machine code of a module, as long as there is a reference to it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.Target.from_default_triple()
    machine = triple.create_target_machine(cpu=target.cpu, features=target.features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return engine


@functools.cache
def function_of(name, target):
    """``f(x, out)`` or ``f(x, y, out)`` for arrays of one size, a multiple of the target's lanes."""
    target = RUNS_ON[target]
    count = WRITERS[name][0] if name in WRITERS else 1
    double, size = ir.DoubleType(), ir.IntType(64)
    type_ = ir.VectorType(double, target.lanes) if target.lanes > 1 else double
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [double.as_pointer()] * (count + 1) + [size]), "run")
    *arrays, total = function.args
    entry, loop, end = map(function.append_basic_block, ("entry", "loop", "end"))
    ir.IRBuilder(entry).branch(loop)
    builder = ir.IRBuilder(loop)
    place = builder.phi(size)
    places = [builder.bitcast(builder.gep(array, [place]), type_.as_pointer()) for array in arrays]
    result = emit(builder, name, [builder.load(p, align=8) for p in places[:-1]], fma=target.fma)
    if name in PREDICATES:
        result = builder.uitofp(result, type_)
    builder.store(result, places[-1], align=8)
    following = builder.add(place, size(target.lanes))
    place.add_incoming(size(0), entry)
    place.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, total), loop, end)
    ir.IRBuilder(end).ret_void()
    engine = load(module, target)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (count + 1), ctypes.c_int64)
    run = kind(engine.get_function_address("run"))

    def call(*arrays, _engine=engine):
        run(*(array.ctypes.data for array in arrays), arrays[0].size)

    return call


def evaluate(name, columns, target="host"):
    """What the function gives in each row."""
    count = len(columns[0])
    rounded_up = -(-count // 8) * 8
    full = [np.resize(np.array(column, dtype=float), rounded_up) for column in columns]
    out = np.empty(rounded_up)
    function_of(name, target)(*full, out)
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


@pytest.mark.parametrize("name", ["isnan", "isinf"])
@pytest.mark.parametrize("target", RUNS_ON)
def test_infinite_numbers_and_nans_are_told_apart(name, target):
    expected = [float(getattr(math, name)(x)) for x in SPECIAL]
    assert evaluate(name, [SPECIAL], target).tolist() == expected


def test_every_function_is_measured():
    assert set(EXACT) | {"isnan", "isinf"} == FUNCTIONS


def builder_of(type_, count):
    function = ir.Function(ir.Module(), ir.FunctionType(type_, [type_] * count), "caller")
    return ir.IRBuilder(function.append_basic_block()), function.args


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_no_fused_instruction_is_written_for_processors_without(name):
    builder, arguments = builder_of(ir.VectorType(ir.DoubleType(), 2), 1 + (name in TWO))
    emit(builder, name, arguments, fma=False)
    assert "llvm.fma" not in str(builder.module)


def test_a_function_is_written_once_per_module_and_type():
    builder, arguments = builder_of(ir.DoubleType(), 1)
    for _ in range(3):
        emit(builder, "exp", arguments)
    assert [f.name for f in builder.module.functions if f.linkage == "internal"] == ["exp.f64.fma"]


def test_calls_run_with_the_function_in_their_place_and_without():
    for inline in (True, False):
        builder, (x,) = builder_of(ir.DoubleType(), 1)
        builder.ret(emit(builder, "exp", [x], inline=inline))
        engine = load(builder.module, host())
        assert ("noinline" in str(builder.module)) is not inline
        assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(engine.get_function_address("caller"))(0.0) == 1.0


def test_wrong_calls_say_what_is_wrong():
    builder, arguments = builder_of(ir.DoubleType(), 1)
    with pytest.raises(ValueError, match=r"no function of math is called 'gamma': there are acos, asin"):
        emit(builder, "gamma", arguments)
    with pytest.raises(ValueError, match=r"atan2 takes 2 arguments, not 1"):
        emit(builder, "atan2", arguments)

"use strict";

// What Python's operators and functions do where JavaScript's differ: here, and for format() below, is all that the
// page knows of Python. What is an error there throws Undefined here.

class Undefined extends Error {}

const py = {
  divide(a, b) {
    if (b === 0) throw new Undefined("division by zero");
    return a / b;
  },
  floor_divide: (a, b) => Math.floor(py.divide(a - py.modulo(a, b), b) + 0.5),
  modulo(a, b) {
    if (b === 0) throw new Undefined("division by zero");
    const rest = a % b;
    return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
  },
  power(a, b) {
    if (a === 1 || (a === -1 && Math.abs(b) === Infinity)) return 1; // NaN in JavaScript
    if (a === 0 && b < 0) throw new Undefined("division by zero");
    if (a < 0 && a !== -Infinity && Number.isFinite(b) && !Number.isInteger(b)) {
      throw new Undefined("a negative number has no real power with a fractional exponent");
    }
    return checked("**", a ** b, [a, b]);
  },
  chance: (p) => {
    if (!(p >= 0 && p <= 1)) throw new Undefined("a probability is between 0 and 1");
    return p;
  },
  real: (x) => x, // power() has refused what is not
  mul: (a, b) => a * b,
  truth: (x) => (Array.isArray(x) ? x.length > 0 : x !== 0 && x !== false),
  and(...values) {
    let x = true;
    for (const value of values) if (!py.truth((x = value()))) break;
    return x;
  },
  or(...values) {
    let x = false;
    for (const value of values) if (py.truth((x = value()))) break;
    return x;
  },
  rule: (i) => (...operands) => RULES[i].value(RULES[i].constants, undefined, operands),

  abs: Math.abs,
  fabs: Math.abs,
  float: Number,
  isfinite: Number.isFinite,
  isinf: (x) => Math.abs(x) === Infinity,
  isnan: Number.isNaN,
  copysign: (a, b) => (b < 0 || Object.is(b, -0) ? -Math.abs(a) : Math.abs(a)),
  degrees: (x) => x * (180 / Math.PI),
  radians: (x) => x * (Math.PI / 180),
  log: (x, base) => (base === undefined ? py.ln(x) : py.divide(py.ln(x), py.ln(base))),
  pow: (a, b) => py.power(a, b),

  len: (xs) => xs.length,
  list: (xs = []) => [...xs],
  tuple: (xs = []) => [...xs],
  reversed: (xs) => [...xs].reverse(),
  sorted: (xs) => [...xs].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
  map: (f, ...sequences) => py.zip(...sequences).map((row) => f(...row)),
  zip: (...sequences) =>
    Array.from({ length: Math.min(...sequences.map((xs) => xs.length)) }, (_, i) => sequences.map((xs) => xs[i])),
  enumerate: (xs) => xs.map((x, i) => [i, x]),
  range(start, stop, step = 1) {
    if (stop === undefined) [start, stop] = [0, start];
    return Array.from({ length: Math.max(0, Math.ceil((stop - start) / step)) }, (_, i) => start + i * step);
  },
  all: (xs) => xs.every(py.truth),
  any: (xs) => xs.some(py.truth),
  at(xs, i) {
    if (i < -xs.length || i >= xs.length) throw new Undefined("index out of range");
    return xs.at(i);
  },
  repeat: (a, b) => (Array.isArray(a) ? Array.from({ length: Math.max(0, b) }, () => a).flat() : py.repeat(b, a)),
  max: (...xs) => first(xs, (x, best) => x > best),
  min: (...xs) => first(xs, (x, best) => x < best),
  prod: (xs, start = 1) => xs.reduce((product, x) => product * x, start),
  fsum(xs) {
    const parts = []; // which do not overlap, and whose sum is exact (Shewchuk, 1997)
    for (let x of xs) {
      let count = 0;
      for (let y of [...parts]) {
        if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
        const high = x + y;
        const low = y - (high - x);
        if (low) parts[count++] = low;
        x = high;
      }
      parts.length = count;
      parts.push(x);
    }
    return parts.reduce((total, part) => total + part, 0);
  },
  sum(xs, start = 0) {
    if (!COMPENSATED_SUM) return xs.reduce((total, x) => total + x, start);
    let total = start; // as Python does from 3.12 on: with what rounding takes away kept in a second number
    let lost = 0;
    for (const x of xs) {
      const next = total + x;
      lost += Math.abs(total) >= Math.abs(x) ? total - next + x : x - next + total;
      total = next;
    }
    return Number.isFinite(lost) ? total + lost : total;
  },
};

// The error function, by the rational approximations of fdlibm's s_erf.c (Sun Microsystems, 1993): erfc(x) for x ≥ 0.84.
const polynomial = (x, ...coefficients) => coefficients.reduceRight((sum, c) => sum * x + c, 0);

function erfcFromHere(x) {
  if (x < 1.25) {
    const s = x - 1;
    const p = polynomial(s, -2.36211856075265944077e-3, 4.14856118683748331666e-1, -3.72207876035701323847e-1, 3.18346619901161753674e-1, -1.10894694282396677476e-1, 3.54783043256182359371e-2, -2.16637559486879084300e-3);
    const q = polynomial(s, 1, 1.06420880400844228286e-1, 5.40397917702171048937e-1, 7.18286544141962662868e-2, 1.26171219808761642112e-1, 1.36370839120290507362e-2, 1.19844998467991074170e-2);
    return 1 - 8.45062911510467529297e-1 - p / q;
  }
  if (x > 28) return 0;
  const s = 1 / (x * x);
  const near = x < 1 / 0.35;
  const r = near
    ? polynomial(s, -9.86494403484714822705e-3, -6.93858572707181764372e-1, -1.05586262253232909814e1, -6.23753324503260060396e1, -1.62396669462573470355e2, -1.84605092906711035994e2, -8.12874355063065934246e1, -9.81432934416914548592)
    : polynomial(s, -9.86494292470009928597e-3, -7.99283237680523006574e-1, -1.77579549177547519889e1, -1.60636384855821916062e2, -6.37566443368389627722e2, -1.02509513161107724954e3, -4.83519191608651397019e2);
  const t = near
    ? polynomial(s, 1, 1.96512716674392571292e1, 1.37657754143519042600e2, 4.34565877475229228821e2, 6.45387271733267880336e2, 4.29008140027567833386e2, 1.08635005541779435134e2, 6.57024977031928170135, -6.04244152148580987438e-2)
    : polynomial(s, 1, 3.03380607434824582924e1, 3.25792512996573918826e2, 1.53672958608443695994e3, 3.19985821950859553908e3, 2.55305040643316442583e3, 4.74528541206955367215e2, -2.24409524465858183362e1);
  const z = Math.fround(x); // its square is exact
  return (Math.exp(-z * z - 0.5625) * Math.exp((z - x) * (z + x) + r / t)) / x;
}

function erfNearZero(x) {
  const z = x * x;
  const p = polynomial(z, 1.28379167095512558561e-1, -3.25042107247001499370e-1, -2.84817495755985104766e-2, -5.77027029648944159157e-3, -2.37630166566501626084e-5);
  const q = polynomial(z, 1, 3.97917223959155352819e-1, 6.50222499887672944485e-2, 5.08130628187576562776e-3, 1.32494738004321644526e-4, -3.96022827877536812320e-6);
  return x + x * (p / q);
}

py.erf = (x) => (Math.abs(x) < 0.84375 ? erfNearZero(x) : Math.sign(x) * (1 - erfcFromHere(Math.abs(x))));
py.erfc = (x) => {
  if (Math.abs(x) < 0.84375) return x < 0.25 ? 1 - erfNearZero(x) : 0.5 - (erfNearZero(x) - 0.5);
  return x < 0 ? 2 - erfcFromHere(-x) : erfcFromHere(x);
};
py.round = (x) => {
  if (!Number.isFinite(x)) throw new Undefined("not a finite number");
  const down = Math.floor(x);
  const rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1; // halves to even
};

for (const name of "acos acosh asin asinh atan atan2 atanh cbrt cos cosh exp expm1 hypot log10 log1p log2 sin sinh sqrt tan tanh".split(" ")) {
  py[name] = (...xs) => checked(name, Math[name](...xs), xs);
}
for (const name of ["ceil", "floor", "trunc"]) {
  py[name] = (x) => {
    if (!Number.isFinite(x)) throw new Undefined("not a finite number");
    return Math[name](x);
  };
}
py.ln = (x) => checked("log", Math.log(x), [x]);
py.exp2 = (x) => checked("exp2", 2 ** x, [x]);
py.fmod = (a, b) => checked("fmod", a % b, [a, b]);

// Python raises for a result that is no number, or not finite, while all operands are.
function checked(name, x, operands) {
  if (Number.isNaN(x) && !operands.some(Number.isNaN)) throw new Undefined("outside its domain");
  if (py.isinf(x) && operands.every(Number.isFinite)) {
    const grows = ["cosh", "exp", "exp2", "expm1", "hypot", "sinh", "**"].includes(name);
    throw new Undefined(grows ? "too large for a float" : "outside its domain");
  }
  return x;
}

function first(xs, better) {
  if (xs.length === 1 && Array.isArray(xs[0])) [xs] = xs;
  if (xs.length === 0) throw new Undefined("of an empty sequence");
  return xs.reduce((best, x) => (better(x, best) ? x : best));
}

// Python's f"{x:.6g}". JavaScript rounds halves up, Python to even: therefore from the number's exact digits.
function format(x) {
  if (Number.isNaN(x)) return "nan";
  const sign = x < 0 || Object.is(x, -0) ? "-" : "";
  if (py.isinf(x)) return `${sign}inf`;
  if (x === 0) return `${sign}0`;
  const [mantissa, power] = Math.abs(x).toExponential(60).split("e");
  const digits = mantissa.replace(".", "");
  const rest = digits.slice(6);
  const half = "5".padEnd(rest.length, "0");
  let head = Number(digits.slice(0, 6));
  let exponent = Number(power);
  if (rest > half || (rest === half && head % 2 === 1)) head += 1;
  if (head === 1e6) {
    head = 1e5;
    exponent += 1;
  }
  const stripped = (text) => (text.includes(".") ? text.replace(/\.?0*$/, "") : text);
  const six = String(head);
  if (exponent < -4 || exponent >= 6) {
    const size = String(Math.abs(exponent)).padStart(2, "0");
    return `${sign}${stripped(`${six[0]}.${six.slice(1)}`)}e${exponent < 0 ? "-" : "+"}${size}`;
  }
  if (exponent < 0) return `${sign}${stripped(`0.${"0".repeat(-exponent - 1)}${six}`)}`;
  return `${sign}${stripped(`${six.slice(0, exponent + 1)}.${six.slice(exponent + 1)}`)}`;
}

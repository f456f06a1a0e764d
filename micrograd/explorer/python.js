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

"""What is wrong with somebody's ``Value`` class, in a sentence.

Small graphs are run on the class, from those that need one thing to be right to those that need several: values first,
then the gradients of one operation, of two in a row, of a leaf that is used twice, and of a node that is used twice.
The first graph that goes wrong tells the fault, because everything simpler is right.

>>> from micrograd import Value
>>> print(diagnose(Value))
right: nothing is wrong with it.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from typing import Any

from ..rules import RULES, Rule
from ..stepping import contributions
from .diagnosis import Diagnosis, describe
from .explanations import describe_slope, describe_sum, is_multiple, judge_shared_leaf, list_contributions
from .expression import Step
from .forms import METHODS, PAIRS, POWERS, REQUIRED, Form, list_forms
from .probes import Answer, EndlessError, Probe, agree, apply, ask, limit_instructions, read_number, run_backward

__all__ = ["diagnose", "examine"]

_CUBE = RULES["power"].bind("power", n=3.0)
_SQUARE = RULES["power"].bind("power", n=2.0)


def diagnose(engine: Any) -> Diagnosis:
    """Says what is wrong with a ``Value`` class of anybody's, with a graph of at most four nodes that shows it.

    The class has the interface of the published package: ``Value(data)`` with a number, ``data``, ``grad``,
    ``backward()``, and the operators + - * / and ** with a number. Of other operations, those that it has are examined.

    The class runs in this process. To run somebody's file in a process of its own, with limits of time and memory, see
    :func:`diagnose_file`. Code that is written in Python is stopped here too when it runs for too long.

    Args:
        engine: the class, or a function that makes a Value from a number.

    Raises:
        TypeError: if ``engine`` can't be called.

    >>> from micrograd import Value
    >>> class Student(Value):
    ...     def __rsub__(self, other):
    ...         return self - other
    >>> print(diagnose(Student))
    value of -: the value of an operation is wrong. x2 = 3.0 - x1, at x1 = 2.0, should be 1 but is -1.
    """
    if not callable(engine):
        raise TypeError(f"diagnose() takes a Value class, not {type(engine).__name__} {engine!r}")
    return examine(engine, lambda probe: None)


def examine(engine: Any, watch: Callable[[Probe], None]) -> Diagnosis:
    """Does what :func:`diagnose` does, and calls ``watch`` with each graph before it is run."""
    return _Examination(engine, watch).run()


class _FoundError(Exception):
    # What is wrong was found while something else was looked for.

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(str(diagnosis))
        self.diagnosis = diagnosis


class _Examination:
    # The class under examination, and what it answered to the simplest probes.

    def __init__(self, engine: Any, watch: Callable[[Probe], None]) -> None:
        self.engine, self.watch = engine, watch
        self.kept: list[Any] = []  # keeps objects alive, so that the addresses of new ones differ
        self.answers: list[tuple[Form, Answer]] = []
        self.kind: Any = engine
        self.deferred: Diagnosis | None = None

    def run(self) -> Diagnosis:
        checks = (
            self.check_construction,
            self.check_values,
            self.check_single_operations,
            self.check_calls_in_turn,
            self.check_root,
            self.check_chains,
            self.check_operands,
            self.check_shared_leaves,
            self.check_shared_nodes,
            self.check_repeated_operations,
            self.check_local_gradients,
            self.check_more_graphs,
            self.check_deferred,
        )
        try:
            for check in checks:
                if found := check():
                    return self.blame_equality(found)
        except _FoundError as error:
            return error.diagnosis
        return Diagnosis("right", notes=tuple(self.list_limits()))

    # Values

    def check_construction(self) -> Diagnosis | None:
        """Whether ``Value(x)`` holds x, and has a gradient and ``backward()``."""
        for x in (3.0, 0.5):
            try:
                with limit_instructions():
                    node = self.engine(x)
                    found = read_number(node, "data")
                    missing = [name for name in ("grad", "backward") if not hasattr(node, name)]
            except (Exception, SystemExit, EndlessError) as error:
                return Diagnosis("crash", detail=f"Value({x!r}) can't be made: {describe(error)}.")
            if missing:
                return Diagnosis("crash", detail=f"Value({x!r}) has no {' and no '.join(missing)}.")
            if not agree(found, x):
                minus = Probe((x,), (Step(RULES["neg"], (0,)),))
                return Diagnosis("value", "", minus.expression, x, found, detail=f"Value({x!r}).data is {found!r}.")
        self.kind = type(node)
        self.forms = list(list_forms(self.kind))
        return None

    def check_values(self) -> Diagnosis | None:
        """Whether every operation can be written in all its forms, and gives the right value."""
        for form in self.forms:
            for point in form.points:
                answer = self.ask(form.make(point), backward=False)
                if answer.error is not None:
                    return self.report_error(form, answer)
                expected, got = answer.probe.data[-1], answer.data[-1]
                if not agree(got, expected):
                    detail = f"{answer.probe}, should be {expected:.12g} but is {got:.12g}."
                    return Diagnosis("value", form.name, answer.probe.expression, expected, got, detail=detail)
        return self.check_whole_numbers()

    def check_whole_numbers(self) -> Diagnosis | None:
        """Whether ints are operands, if they are data."""
        if not _succeeds(lambda: self.engine(2)):
            return None
        for form in self.forms:
            if not form.plain:
                continue
            (side,) = form.plain
            probe = form.make((2.0, 3.0) if side == 0 else (3.0, 2.0))
            shown = f" {form.name} ".join("2" if i == side else f"x{i}" for i in range(2))
            try:
                with limit_instructions():
                    operands = [2 if i == side else self.engine(3.0) for i in range(2)]
                    got = float(apply(form.rule, operands).data)
            except (Exception, EndlessError) as error:
                detail = f"{shown} fails with the whole number 2 as operand: {describe(error)}."
                return Diagnosis("operator", form.name, probe.expression, detail=detail)
            if not agree(got, probe.data[-1]):
                detail = f"{shown}, with the whole number 2, should be {probe.data[-1]!r} but is {got!r}."
                return Diagnosis("value", form.name, probe.expression, probe.data[-1], got, detail=detail)
        return None

    def report_error(self, form: Form, answer: Answer) -> Diagnosis:
        """The diagnosis for an operation that can't be written."""
        error = answer.error
        assert error is not None
        is_hopeless = isinstance(error, (EndlessError, MemoryError, RecursionError, SystemExit))
        kind = "crash" if is_hopeless or form.name not in REQUIRED else "operator"
        with_number = " with a plain number as operand" if form.plain else ""
        detail = f"{answer.probe}, fails{with_number}: {describe(error)}."
        return Diagnosis(kind, form.name, answer.probe.expression, detail=detail)

    # Gradients of one operation

    def check_single_operations(self) -> Diagnosis | None:
        """Whether ``backward()`` runs on one operation and leaves data as they are. Its gradients are judged later."""
        for form in [*self.forms]:
            answers = [self.ask(form.make(point)) for point in form.points]
            failed = next((answer for answer in answers if answer.error is not None or answer.changed), None)
            if failed is None:
                self.answers += [(form, answer) for answer in answers]
            elif any(answer.list_wrong_leaves() for _, answer in self.answers):
                self.forms.remove(form)  # it may be made of an operation that is wrong
            else:
                product = self.ask(self.forms[1].make(PAIRS[0]))
                is_general = form is self.forms[0] and (product.error is not None or product.changed)
                return self.report_failure(failed, "" if is_general else form.name)
        return None

    def report_failure(self, answer: Answer, operation: str = "") -> Diagnosis | None:
        """The diagnosis for a probe on which ``backward()`` failed or changed data; None if it did neither."""
        probe = answer.probe
        if answer.error is not None:
            where = "backward() fails on" if answer.during == "backward" else "building the graph fails:"
            detail = f"{where} {probe}: {describe(answer.error)}."
            return Diagnosis("crash", operation, probe.expression, detail=detail)
        if answer.changed:
            node = answer.changed[0]
            expected, got = answer.data[node], answer.after[node]
            detail = f"{probe}: x{node}.data is {expected!r} before backward(), and {got!r} after it."
            return Diagnosis("changes data", operation, probe.expression, expected, got, detail=detail)
        return None

    def check_calls_in_turn(self) -> Diagnosis | None:
        """Whether a call of ``backward()`` counts in anything of another call, beyond what leaves accumulate."""
        form = self.forms[REQUIRED.index("*")]
        first = self.ask(form.make(PAIRS[0]))
        second = self.ask(form.make(PAIRS[0]))
        expected = list(first.gradients)
        accumulated = "gradients are those of one call, or the sum of both"
        calls: tuple[tuple[str, tuple[int, ...], Callable[[], Answer]], ...] = (
            ("built a second time, of new leaves, it gets other gradients", (1,), lambda: second),
            ("its leaves get gradients from a second, separate graph", (0, 1), partial(_read_again, first)),
            (f"backward() is called twice; {accumulated}", (1, 2), partial(_call_again, second)),
            (
                "built a second time, on the same leaves, after their gradients are set to 0",
                (1,),
                partial(self.build_on, second, zero=True),
            ),
            (
                f"built a second time, on the same leaves; {accumulated}",
                (1, 2),
                partial(self.build_on, second, zero=False),
            ),
        )
        for what, allowed, call in calls:
            try:
                with limit_instructions():
                    answer = call()
            except AttributeError:  # the gradient can't be set
                continue
            for leaf in answer.probe.leaves:
                wanted, got = expected[leaf] or 0.0, answer.gradients[leaf] or 0.0
                if not any(agree(got, times * wanted) for times in allowed):
                    # What earlier graphs hand on is then not 0, or is not added.
                    if self.ignores_upstream(form, first) or not all(
                        is_multiple(answer) for _, answer in self.find_wrong_doubles()
                    ):
                        return None
                    should = allowed[-1] * (answer.probe.gradients[leaf] or 0.0)
                    detail = f"{answer.probe}: {what}. x{leaf}.grad should be {should!r} but is {got!r}."
                    found = Diagnosis("left over", "", answer.probe.expression, should, got, detail=detail)
                    # One call is simpler than two of the same graph, and what is lost may have a simpler reason.
                    if got and "twice" not in what:
                        return found
                    self.deferred = self.deferred or found
        return None

    def check_deferred(self) -> Diagnosis | None:
        """Whether earlier calls of ``backward()`` change gradients, and nothing simpler is the reason."""
        return self.deferred

    def build_on(self, answer: Answer, zero: bool) -> Answer:
        """Builds an answer's graph again on its leaves, and calls ``backward()``."""
        new = Answer(answer.probe, answer.nodes[:2])
        for leaf in new.nodes if zero else ():
            leaf.grad = 0.0
        if not zero:  # as the first of two calls
            for leaf, gradient in zip(new.nodes, answer.gradients, strict=False):
                leaf.grad = gradient
        new.nodes.append(new.nodes[0] * new.nodes[1])
        run_backward(new)
        return new

    def check_root(self) -> Diagnosis | None:
        """Whether the gradients of sums and products alike are off by what the root starts with."""
        wrong = {form.name: answer for form, answer in reversed(self.answers) if answer.list_wrong_leaves()}
        if "+" not in wrong or "*" not in wrong:
            return None
        answer, scales = wrong["+"], self.list_scales()
        root = answer.gradients[-1] or 0.0
        if not any(scales):
            if self.uses_own_gradient(self.forms[0], answer):
                return None
            return self.report(answer, "order" if agree(root, 1.0) else "seed", detail="No node hands anything on.")
        if agree(root, 1.0) and all(round(scale) >= 1 and agree(scale, round(scale)) for scale in scales):
            return self.report(answer, "visited twice", detail=f"The root hands on {scales[0]:g} times.")
        is_data = all(agree(answer.gradients[-1], answer.data[-1]) for _, answer in self.answers)
        if is_data or (all(agree(scale, scales[0]) for scale in scales) and not agree(root, 1.0)):
            start = "its data" if is_data else f"{scales[0]:g}"
            return self.report(answer, "seed", detail=f"The gradients are those of a root that starts with {start}.")
        return None

    def list_scales(self) -> list[float]:
        """The factors by which the gradients of single operations differ from those that they should be."""
        pairs = [(a.gradients[i] or 0.0, a.probe.gradients[i] or 0.0) for _, a in self.answers for i in a.probe.leaves]
        return [got / expected for got, expected in pairs if not agree(expected, 0.0)]

    def check_local_gradients(self) -> Diagnosis | None:
        """Whether the gradients of one operation are right, where the chain rule itself is."""
        wrong = [(form, answer) for form, answer in self.answers if answer.list_wrong_leaves()]
        if not wrong:
            return None
        form, answer = wrong[0]
        strange = [f.name for f, a in wrong if self.ignores_upstream(f, a) or self.uses_own_gradient(f, a)]
        if form.name in strange:
            return self.report(answer, "upstream", self.blame(strange))
        answers = [answer for other, answer in self.answers if other is form]
        return self.report(answer, "local gradient", form.name, detail=describe_slope(form.rule, answers))

    @cached_property
    def right_forms(self) -> list[Form]:
        """The operations whose gradients are right when they stand alone."""
        wrong = [form for form, answer in self.answers if answer.list_wrong_leaves()]
        return [form for form in self.forms if form not in wrong]

    @cached_property
    def right_rules(self) -> list[Rule]:
        """The operations of one operand whose gradients are right when they stand alone."""
        found = [
            form.rule for form in self.right_forms if len(form.points[0]) == 1 and form.name not in ("relu", "abs")
        ]
        powers = [_CUBE, _SQUARE] if sum(rule.name == "power" for rule in found) == len(POWERS) else []
        return powers + [rule for rule in found if rule.name != "power"]

    def ignores_upstream(self, form: Form, single: Answer) -> bool:
        """Whether an operation hands on the same gradient whatever arrives, or adds what arrives."""
        chain = self.ask(self.extend(form, single.probe.point))
        arrived = chain.probe.gradients[-2] or 0.0
        if chain.error is not None or arrived in (0, 1):
            return False
        pairs = [(chain.gradients[i] or 0.0, single.gradients[i] or 0.0) for i in chain.list_wrong_leaves()]
        return any(
            alone and not agree(later, alone * arrived) and (agree(later, alone) or agree(later - alone, arrived - 1))
            for later, alone in pairs
        )

    def extend(self, form: Form, point: tuple[float, ...]) -> Probe:
        """An operation, and a second one on its result, whose own gradient is right."""
        probes = [form.make(point, Step(rule, (len(point),))) for rule in (*self.right_rules, RULES["neg"])]
        return next(probe for probe in probes if probe.is_defined)

    def uses_own_gradient(self, form: Form, single: Answer) -> bool:
        """Whether an operation multiplies by the gradient of the operand, in place of that of the result."""
        answer = self.ask(single.probe, backward=False)
        slopes = single.probe.gradients
        try:
            for leaf in single.probe.leaves:
                answer.nodes[leaf].grad = 1.0
            with limit_instructions():
                run_backward(answer)
        except (Exception, EndlessError):
            return False
        wrong = [i for i in single.list_wrong_leaves() if not single.gradients[i]]
        return any(agree(answer.gradients[i], 1 + (slopes[i] or 0.0)) for i in wrong)

    # Gradients of several operations

    def check_chains(self) -> Diagnosis | None:
        """Whether the gradients of two operations, one after the other, are right."""
        wrong = self.find_wrong(
            (form.name, self.extend(form, point)) for form in self.right_forms for point in form.points[:2]
        )
        if not wrong:
            return None
        _, answer = wrong[0]
        leaf = answer.list_wrong_leaves()[0]
        result = len(answer.nodes) - 2
        if not answer.gradients[leaf]:
            detail = f"{answer.probe.write_step(result)} hands on before {answer.probe.write_step(result + 1)} does."
            if self.is_right_before_other_rules():
                return self.report(answer, "order", _name(self.right_rules[0]), _UNFOUND)
            return self.report(answer, "order", detail=detail)
        if is_multiple(answer):
            return self.report(answer, "visited twice")
        arrived = answer.probe.gradients[result] or 0.0
        detail = f"x{result}.grad, {arrived:.10g}, is no factor of what {answer.probe.write_step(result)} hands on."
        return self.report(answer, "upstream", self.blame([name for name, _ in wrong]), detail=detail)

    def is_right_before_other_rules(self) -> bool:
        """Whether chains are right that end in another operation than those of :meth:`extend`."""
        others = [rule for rule in self.right_rules if rule.name != self.right_rules[0].name][:1]
        probes = [
            form.make(point, Step(rule, (len(point),)))
            for rule in others
            for form in self.right_forms
            for point in form.points[:2]
        ]
        return bool(probes) and not any(self.ask(probe).list_wrong_leaves() for probe in probes)

    def check_operands(self) -> Diagnosis | None:
        """Whether what an operation is made of is found, and hands on, too."""
        wrong = self.find_wrong((form.name, probe) for form in self.right_forms for probe in self.make_operands(form))
        if not wrong:
            return None
        return self.report(wrong[0][1], "order", self.blame([name for name, _ in wrong]), detail=_UNFOUND)

    def make_operands(self, form: Form) -> Iterator[Probe]:
        """An operation, of which one operand is made by another."""
        first = self.right_rules[0] if self.right_rules else RULES["neg"]
        count = len(form.points[0])
        for leaf, x in product({*range(count)} - form.plain, (0.5, -1.25, 2.0)):
            point = tuple(x if i == leaf else y for i, y in enumerate(form.points[0]))
            operands = tuple(count if i == leaf else i for i in range(count))
            probe = Probe(point, (Step(first, (leaf,)), Step(form.rule, operands)), form.plain)
            if _is_tame(probe, leaf):
                yield probe

    def check_shared_leaves(self) -> Diagnosis | None:
        """Whether the gradient of a leaf that is used twice is the sum of what both uses give."""
        doubled = self.find_wrong_doubles()
        wrong = doubled + self.find_wrong(
            (form.name, probe) for form in self.right_forms for probe in self.share_leaves(form)
        )
        if not wrong:
            return None
        kinds = [(judge_shared_leaf(answer), answer) for _, answer in wrong]
        kind, answer = next((found for found in kinds if found[0]), ("overwritten", wrong[0][1]))
        # The order of nodes matters neither within one operation, nor does it depend on what the operations are.
        names = {name for name, _ in wrong}
        is_of_some = names < {form.name for form in self.right_forms}
        if kind == "overwritten" or is_of_some or not all(is_multiple(answer) for _, answer in doubled):
            operation = self.blame([form.name for form in self.right_forms if form.name in names])
            detail = describe_sum([answer for _, answer in wrong])
            return self.report(wrong[0][1], "overwritten", operation, detail=detail)
        step = answer.probe.write_step(len(answer.probe.point))
        return self.report(answer, kind, detail=f"It goes wrong at {step}.")

    def find_wrong_doubles(self) -> list[tuple[str, Answer]]:
        """The operations that give a wrong gradient to a leaf that is both of their operands."""
        return self.find_wrong(
            (form.name, Probe(point[:1], (Step(form.rule, (0, 0)),)))
            for form in self.right_forms
            for point in form.points
            if len(point) == 2 and not form.plain
        )

    def share_leaves(self, form: Form) -> Iterator[Probe]:
        """An operation whose operand is used a second time, by the root."""
        joins = [other.name for other in self.right_forms if other.name in ("+", "*") and not other.plain]
        for point in form.points[:2]:
            out = len(point)
            for name in joins:
                for leaf in {*range(out)} - form.plain:
                    for operands in ((out, leaf), (leaf, out)):
                        yield form.make(point, Step(RULES[name], operands))

    def check_shared_nodes(self) -> Diagnosis | None:
        """Whether a node that is used twice hands on, once, the sum of what both uses give."""
        probes = list(self.share_nodes())
        for attempt in range(5):  # the order of a set depends on addresses
            for probe in probes:
                self.kept.append([self.engine(1.0) for _ in range(attempt)])
                for _, answer in self.find_wrong([("", probe)]):
                    return self.judge_shared_node(answer)
        return None

    def share_nodes(self) -> Iterator[Probe]:
        """A node x1, made of the leaf x0, that is used twice."""
        joins = [other.name for other in self.right_forms if other.name in ("+", "*") and not other.plain]
        rules = self.right_rules[:2]
        for first, second, name in product(rules, rules, joins):
            for steps in (
                (Step(first, (0,)), Step(RULES[name], (1, 1))),
                (Step(first, (0,)), Step(second, (1,)), Step(RULES[name], (1, 2))),
                (Step(first, (0,)), Step(second, (1,)), Step(RULES[name], (2, 1))),
            ):
                if _is_tame(probe := Probe((0.5,), steps)):
                    yield probe

    def judge_shared_node(self, answer: Answer) -> Diagnosis:
        """The diagnosis for a graph in which the node x1, made of the leaf x0, is used twice, and goes wrong."""
        probe = answer.probe
        handed = (answer.gradients[0] or 0.0) / contributions(probe.nodes[1])[0]
        whole = probe.gradients[1] or 0.0
        detail = f"It goes wrong at {probe.write_step(1)}: of x1.grad, {whole:.10g}, it hands on {handed:.10g}."
        if any(agree(handed, part) for part in (0.0, *list_contributions(probe, 1))):
            kept = answer.gradients[1] or 0.0
            is_lost = handed and agree(kept, handed) and not agree(kept, whole)
            return self.report(answer, "overwritten" if is_lost else "order", detail=detail)
        return self.report(answer, "visited twice", detail=detail)

    def check_repeated_operations(self) -> Diagnosis | None:
        """Whether an operation that is used twice remembers both uses."""
        wrong = self.find_wrong(
            (form.name, probe)
            for form in self.right_forms
            for point in form.points
            if _is_tame(probe := form.make(point, Step(form.rule, (len(point), *range(1, len(point))))))
        )
        if not wrong:
            return None
        operation = self.blame([name for name, _ in wrong])
        detail = "It is right once, and wrong if the operation is used twice: is something kept that is of one use?"
        return self.report(wrong[0][1], "local gradient", operation, detail=detail)

    def check_more_graphs(self) -> Diagnosis | None:
        """Whether random graphs of at most four nodes are right."""
        rng = random.Random(0)
        rules = [form.rule for form in self.forms if not form.plain and form.name not in ("relu", "abs")]
        probes = [probe for _ in range(100) if _is_tame(probe := _draw(rng, rules))]
        wrong = self.find_wrong(("", probe) for probe in probes)
        return self.report(wrong[0][1], "order") if wrong else None

    # Reports

    def ask(self, probe: Probe, backward: bool = True) -> Answer:
        """Runs a probe on the class, and keeps its objects."""
        self.watch(probe)
        answer = ask(self.engine, probe, backward)
        self.kept.append(answer.nodes)
        return answer

    def find_wrong(self, probes: Iterable[tuple[str, Probe]]) -> list[tuple[str, Answer]]:
        """Asks probes, each with the name of the operation that it is about, and returns the wrong answers.

        Raises:
            _FoundError: if ``backward()`` fails on one of them, or changes data.
        """
        wrong = []
        for name, probe in probes:
            answer = self.ask(probe)
            if found := self.report_failure(answer, name):
                raise _FoundError(found)
            if answer.list_wrong_leaves():
                wrong.append((name, answer))
        return wrong

    def blame(self, names: Sequence[str]) -> str:
        """The operation at fault: the first one that fails, or none if several fail that are not made of each other."""
        if len({"+", "*", "**"} & {*names}) > 1:
            return ""
        operators = [form.name for form, answer in self.answers if form.name in REQUIRED and answer.list_wrong_leaves()]
        return operators[0] if operators and names[0] in METHODS else names[0]

    def blame_equality(self, found: Diagnosis) -> Diagnosis:
        """Blames ``==``, if it may be that the class takes one node for another of the same number."""
        graph = found.counterexample
        if graph is None or found.kind not in ("overwritten", "visited twice", "order"):
            return found
        numbers = Probe(graph.point, graph.steps).data
        if len({*numbers}) == len(numbers) or not self.has_equal_values():
            return found
        detail = f"{found.detail} Values of the same number are equal (==): one may be taken for the other."
        return replace(found, kind="order", operation="", detail=detail)

    def has_equal_values(self) -> bool:
        """Whether two Values of the same number are equal."""
        try:
            with limit_instructions():
                return bool(self.engine(3.0) == self.engine(3.0))
        except (Exception, EndlessError):
            return False

    def report(self, answer: Answer, kind: str, operation: str = "", detail: str = "") -> Diagnosis:
        """The diagnosis for an answer with a wrong gradient."""
        leaf = answer.list_wrong_leaves()[0]
        expected, got = answer.probe.gradients[leaf] or 0.0, answer.gradients[leaf] or 0.0
        text = f"{answer.probe}: x{leaf}.grad should be {expected:.10g} but is {got:.10g}."
        return Diagnosis(kind, operation, answer.probe.expression, expected, got, detail=f"{text} {detail}".rstrip())

    def list_limits(self) -> Iterator[str]:
        """What is limited but not wrong."""
        root = self.engine(1.0)
        try:
            with limit_instructions(2_000_000):
                for _ in range(1500):
                    root = root + 1.0
                root.backward()
        except RecursionError:
            yield "a chain of 1500 operations is deeper than Python's recursion limit"
        except (Exception, EndlessError) as error:
            yield f"backward() on a chain of 1500 operations fails: {describe(error)}"
        root = self.engine(1.0)
        try:
            with limit_instructions():
                for _ in range(25):
                    root = root + root
                root.backward()
        except EndlessError:
            yield "the time grows exponentially with nodes that are used twice"
        except Exception as error:
            yield f"backward() on 25 nodes that are used twice fails: {describe(error)}"
        twice = self.ask(self.extend(self.forms[0], PAIRS[0]))
        once, both = twice.gradients[0] or 0.0, _call_again(twice).gradients[0]
        if not any(agree(both, times * once) for times in (1, 2)):
            yield "backward() twice on one graph counts what is left in the nodes between: build the graph again"
        if self.loses_exponents():
            yield "a power whose exponent is a Value hands nothing, or something wrong, on to the exponent"
        if not _succeeds(lambda: self.engine(1.0).backward()):
            yield "backward() fails on a leaf"
        if not _succeeds(lambda: self.engine(2)):
            yield "Value(2) fails: it takes floats only"
        if fate := self.find_fate_of_graphs():
            yield fate

    def loses_exponents(self) -> bool:
        """Whether an exponent may be a Value, and has a wrong gradient."""
        answer = self.ask(Probe((1.5, 2.0), (Step(RULES["**"], (0, 1)),)))
        return answer.error is None and 1 in answer.list_wrong_leaves()

    def find_fate_of_graphs(self) -> str:
        """What happens to a graph when it is dropped; empty if it is freed at once, or can't be seen."""
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            leaf = self.engine(3.0)
            node = leaf * leaf
            node.backward()
            seen = weakref.ref(node)
            del node
            if seen() is None:
                return ""
            gc.collect()
            return "only the cyclic collector frees a graph" if seen() is None else "graphs are never freed"
        except TypeError:  # no weak references
            return ""
        finally:
            if was_enabled:
                gc.enable()


_UNFOUND = "What made an operand of the last step hands nothing on: it is not found, or comes too early."


def _name(rule: Rule) -> str:
    return "**" if rule.name == "power" else rule.name


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        with limit_instructions():
            call()
    except (Exception, EndlessError):
        return False
    return True


def _read_again(answer: Answer) -> Answer:
    again = Answer(answer.probe, answer.nodes)
    again.gradients = [float(node.grad or 0.0) for node in answer.nodes]
    return again


def _call_again(answer: Answer) -> Answer:
    again = Answer(answer.probe, answer.nodes)
    run_backward(again)
    return again


def _draw(rng: random.Random, rules: list[Rule]) -> Probe:
    # A random graph of four nodes.
    point = tuple(rng.choice((0.5, -1.25, 2.0, 1.5)) for _ in range(rng.randint(1, 2)))
    steps: list[Step] = []
    for last in range(len(point) - 1, 3):
        rule = rng.choice(rules)
        operands = [rng.randrange(last + 1) for _ in rule.names]
        operands[rng.randrange(len(operands))] = last  # so that all steps are used
        steps.append(Step(rule, tuple(operands)))
    return Probe(point, tuple(steps))


def _is_tame(probe: Probe, leaf: int = 0) -> bool:
    # Whether the graph is defined, without large numbers, and the gradient of the leaf does not vanish.
    if not probe.is_defined:
        return False
    numbers = [*probe.data, *[x or 0.0 for x in probe.gradients]]
    return all(abs(x) < 1e3 for x in numbers) and abs(probe.gradients[leaf] or 0.0) > 1e-3

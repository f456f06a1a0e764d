"""Watchers of the engine: blocks that overlap, in any order and in any thread."""

import os
import random
import threading

import pytest

from micrograd import Value, detect_anomaly
from micrograd.anomaly import AnomalyError
from micrograd.rule import FLOATS
from micrograd.watching import Watcher, find_watcher, watch, watchers

PLAIN = FLOATS["new_"]


class Counter(Watcher):
    """Counts the nodes that it makes, in one thread or in all."""

    def __init__(self, thread=None):
        self.thread, self.count = thread, 0

    def make(self):
        self.count += 1
        return super().make()


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert watchers == []
    assert FLOATS["new_"] is PLAIN
    assert type(Value(1.0) + 1) is Value


def test_blocks_may_end_in_the_order_in_which_they_began():
    a, b = detect_anomaly(), detect_anomaly()
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    with pytest.raises(AnomalyError):
        Value(1e200) * 1e200
    b.__exit__(None, None, None)
    assert (Value(1e200) * 1e200).data == float("inf")


def test_who_watches_one_thread_comes_first():
    own, of_all, of_others = Counter(threading.get_ident()), Counter(), Counter(-1)
    with watch(own), watch(of_all), watch(of_others):
        assert find_watcher() is own
        Value(2.0) * 3
        thread = threading.Thread(target=lambda: Value(2.0) * 3 + 1)
        thread.start()
        thread.join()
    assert (own.count, of_all.count, of_others.count) == (1, 2, 0)


def test_an_error_in_the_block_ends_it():
    with pytest.raises(KeyError), watch(Counter()):
        raise KeyError


def test_two_threads_in_a_thousand_random_orders():
    """Each thread enters and leaves blocks at random. Its own innermost block makes its nodes, else a common one."""
    rng, problems = random.Random(0), []
    turns = [threading.Semaphore(0), threading.Semaphore(0)]
    back = threading.Semaphore(0)
    plans = [[rng.choice(["own", "common", "leave", "make"]) for _ in range(12)] for _ in range(1000)]
    common = []  # the open blocks that watch all threads, in order

    def act(turn, work):
        blocks = []
        for action in work:
            turns[turn].acquire()
            if action in ("own", "common"):
                watcher = Counter(threading.get_ident() if action == "own" else None)
                block = watch(watcher)
                block.__enter__()
                blocks.append((block, watcher))
                if action == "common":
                    common.append(watcher)
            elif action == "leave" and blocks:
                block, watcher = blocks.pop(random.Random(len(blocks)).randrange(len(blocks)))
                block.__exit__(None, None, None)
                if watcher in common:
                    common.remove(watcher)
            elif action == "make":
                own = [watcher for _, watcher in blocks if watcher.thread]
                expected = own[-1] if own else common[-1] if common else None
                before = expected.count if expected else None
                node = Value(1.0) + 1
                if node.data != 2 or (expected and expected.count != before + 1):
                    problems.append((turn, action))
            back.release()
        turns[turn].acquire()
        for block, watcher in blocks:
            block.__exit__(None, None, None)
            if watcher in common:
                common.remove(watcher)
        back.release()

    for plan in plans:
        shared = plan[:6], plan[6:]
        threads = [threading.Thread(target=act, args=(turn, work)) for turn, work in enumerate(shared)]
        for thread in threads:
            thread.start()
        order = [turn for turn, work in enumerate(shared) for _ in range(len(work) + 1)]
        rng.shuffle(order)
        for turn in order:
            turns[turn].release()
            back.acquire()
        for thread in threads:
            thread.join()
        assert watchers == []
        assert FLOATS["new_"] is PLAIN
    assert not problems


def test_two_threads_that_do_not_wait_for_each_other():
    stop = threading.Event()

    def enter_and_leave():
        while not stop.is_set():
            with detect_anomaly():
                (Value(2.0) * 3).backward()

    threads = [threading.Thread(target=enter_and_leave) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        with watch(Counter(threading.get_ident())):
            x = Value(2.0)
            (x * x).backward()
            assert x.grad == 4.0
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_process_is_not_watched_by_the_threads_of_its_parent():
    entered, leave = threading.Event(), threading.Event()

    def watch_itself():
        with watch(Counter(threading.get_ident())):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=watch_itself)
    thread.start()
    entered.wait()
    child = os.fork()
    if not child:
        with watch(Counter()):
            pass
        os._exit(0 if watchers == [] and FLOATS["new_"] is PLAIN else 1)
    leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_trace_and_anomaly_detection_overlap():
    np = pytest.importorskip("numpy")
    pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")
    from micrograd.compiler.tracing import record, trace

    w = Value(3.0)
    inside = []

    def function(x):
        block = detect_anomaly()
        block.__enter__()
        inside.append(block)  # and leaves it after the trace
        return w * x

    traced = trace(record(function, (2.0,)), "captured")
    assert [node.op for node in traced.nodes[: traced.forward]] == ["*"]
    assert traced.captured == [w]
    with pytest.raises(AnomalyError):
        Value(1e200) * 1e200
    inside[0].__exit__(None, None, None)
    assert np.isfinite(w.data)

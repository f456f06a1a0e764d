"""Checkpoints: a run continues bit for bit, files are written as a whole, and a damaged file changes nothing."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from micrograd import Value, nn, optim
from micrograd.functional import cross_entropy
from micrograd.training import EarlyStopping, StopCondition, TrainingError, fit, load_parameters, save_parameters
from micrograd.training.checkpoints import read

SAMPLES = [([x / 10, (7 * x % 10) / 10], x % 3) for x in range(10)]


def run(checkpoint=None, epochs=4, pause=0.0, at=None, then=None, **options):
    """Runs a training in which every part has a state. Tests also start it in processes that they kill."""
    rng = random.Random(0)
    random.seed(1)
    dropout = nn.Dropout(0.25, rng=random.Random(2))
    model = nn.Sequential(nn.Linear(2, 4, rng=rng), nn.LayerNorm(4), nn.Tanh(), dropout, nn.Linear(4, 3, rng=rng))
    optimizer = optim.Lookahead(optim.Adam(model.parameters(), lr=0.05), k=3)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    calls = []

    def loss(x, y):
        if model.training:
            calls.append(x)
            if len(calls) == at:
                then()
            time.sleep(pause)
        noise = random.gauss(0, 0.01) + rng.gauss(0, 0.01)
        return cross_entropy(model([x[0] + noise, x[1]]), y)

    history = fit(
        loss,
        SAMPLES,
        optimizer,
        epochs=epochs,
        batch_size=3,
        validation=SAMPLES[:4],
        metrics={"first": lambda x, y: model(x)[0]},
        schedule=schedule,
        stop=EarlyStopping(patience=2),
        model=model,
        checkpoint=checkpoint,
        rng=rng,
        **{"checkpoint_every": 0, **options},
    )
    generators = rng, random, dropout._draw.__self__
    states = [stateful.state_dict() for stateful in (model, optimizer, schedule, history)]
    return history, repr((states, [generator.getstate() for generator in generators]))


def in_a_process(program, **options):
    return subprocess.Popen(
        [sys.executable, "-c", f"from test_checkpoints import *\n{program}"],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def uninterrupted():
    return run()[1]


def stop_here():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("at", range(1, 41, 5))
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(tmp_path, uninterrupted, at):
    file = tmp_path / "run.safetensors"
    history, _ = run(file, at=at, then=stop_here)
    assert history.reason.startswith("interrupted by Ctrl-C")
    assert run(file)[1] == uninterrupted
    assert run(file)[1] == uninterrupted  # the run is complete: there is nothing left to do
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_run_interrupted_at_every_step_goes_on_bit_for_bit(tmp_path, uninterrupted):
    for _ in range(16):
        run(tmp_path / "run", at=1, then=stop_here)
    assert run(tmp_path / "run")[1] == uninterrupted


@pytest.mark.parametrize("compiled", [True, False])
def test_a_schedule_that_steps_with_the_steps_goes_on_in_the_middle_of_an_epoch(tmp_path, compiled):
    if compiled:
        pytest.importorskip("llvmlite")

    def train(stops, epochs=3):
        weight = Value(0.0)
        optimizer = optim.Adam([weight], lr=0.1)
        warm_up = optim.LinearLR(optimizer, 0.1, total_iters=5)
        schedule = optim.SequentialLR(optimizer, [warm_up, optim.CosineAnnealingLR(optimizer, 7)], [5])
        history = fit(
            lambda x: (weight - x) ** 2, [float(x) for x in range(10)], optimizer, epochs=epochs, batch_size=3,
            schedule=schedule, schedule_every="step", checkpoint=tmp_path / str(stops), rng=random.Random(0),
            clip=lambda _: stop_here() if stops else None, compile=compiled,
        )  # fmt: skip
        return history, repr([stateful.state_dict() for stateful in (history, optimizer, schedule)] + [weight.data])

    for _ in range(13):  # the last one ends the last epoch
        history, interrupted = train(stops=True)
    assert history.steps == 12
    assert len(set(history.lr)) > 10
    assert interrupted == train(stops=False)[1]


def test_a_checkpoint_of_a_schedule_that_steps_otherwise_is_refused(tmp_path):
    def train(every):
        weight = Value(0.0)
        optimizer = optim.SGD([weight], lr=0.1)
        fit(lambda x: weight * x, [1.0], optimizer, epochs=1, checkpoint=tmp_path / "run", schedule_every=every,
            schedule=optim.StepLR(optimizer, 2))  # fmt: skip

    train("step")
    with pytest.raises(ValueError, match="schedule_every: step in the checkpoint, epoch here"):
        train("epoch")


def test_a_run_goes_on_with_more_epochs(tmp_path, uninterrupted):
    run(tmp_path / "run", epochs=2)
    assert run(tmp_path / "run")[1] == uninterrupted
    with pytest.raises(ValueError, match="epochs: 4 were completed, and no more than 3 are wanted"):
        run(tmp_path / "run", epochs=3)


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    weight = Value(0.0)

    def train():
        return fit(
            lambda x: (weight - x) ** 2, [10.0], optim.SGD([weight], lr=0.05), epochs=100, validation=[4.0],
            stop=EarlyStopping(3), checkpoint=tmp_path / "run",
        )  # fmt: skip

    history, best = train(), weight.data
    weight.data = 0.0
    assert train().state_dict() == history.state_dict()
    assert weight.data == best
    assert read(tmp_path / "run")[0] != {"parameters": [best]}  # the checkpoint has the parameters of the last epoch


@pytest.mark.parametrize(("every", "least"), [(None, 6), (0, 18), (3600, 2)])
def test_when_checkpoints_are_written(tmp_path, monkeypatch, every, least):
    replaced, original = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (replaced.append(b), original(a, b)))
    run(tmp_path / "run", checkpoint_every=every)
    assert len(replaced) == least  # one at the start and one at the end, of 4 epochs of 4 steps


def test_parameters_outside_the_model_and_without_one(tmp_path):
    model, temperature = nn.MLP(1, [2, 1], rng=random.Random(0)), Value(1.0)

    def train(epochs, network, **options):
        loss = lambda x: (network([x]) * temperature - 1) ** 2  # noqa: E731
        optimizer = optim.SGD([*network.parameters(), temperature], lr=0.01)
        return fit(loss, [1.0, 2.0], optimizer, epochs=epochs, shuffle=False, **options)

    for file, options in (("with", {"model": model}), ("without", {})):
        train(2, model, checkpoint=tmp_path / file, **options)
        expected = [p.data for p in model.parameters()], temperature.data
        other, temperature.data = nn.MLP(1, [2, 1]), 5.0
        options = {"model": other} if options else {}
        train(2, other, checkpoint=tmp_path / file, **options)
        assert ([p.data for p in other.parameters()], temperature.data) == expected
    assert set(load_file(tmp_path / "with")) == {"0.weight", "0.bias", "2.weight", "2.bias", "parameters"}
    assert {name: array.shape for name, array in load_file(tmp_path / "without").items()} == {"parameters": (8,)}


# Being killed


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, uninterrupted):
    kills = int(os.environ.get("KILLS", "10"))
    rng, killed, rounds, seen = random.Random(0), 0, 0, set()

    def is_enough():  # a slow machine needs more kills to see as many places
        return killed >= kills and (len(seen) > 3 or killed >= 20 * kills)

    while not is_enough():
        file = tmp_path / f"run{rounds}.safetensors"
        rounds += 1
        while True:
            process = in_a_process(f"print(flush=True); print(run({str(file)!r}, pause=0.004)[1])")
            process.stdout.readline()  # it has begun
            time.sleep(rng.uniform(0, 0.2))
            if not is_enough() and process.poll() is None:
                process.kill()
                process.wait()
                process.stdout.close()
                killed += process.returncode == -signal.SIGKILL
                if file.exists():
                    _, state = read(file)  # never unreadable
                    seen.add((state["epoch"], state["position"]))
            else:
                out = process.communicate()[0]
                assert process.returncode == 0
                assert out.strip() == uninterrupted
                assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
                break
    print(f"{killed} kills in {rounds} runs, at {len(seen)} places: {sorted(seen)}")
    assert len(seen) > 3


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".run.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / ".run.txt").write_bytes(b"mine")
    run(tmp_path / "run", epochs=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".run.txt", "run"]


# A full disk


@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_last_checkpoint_and_the_run(tmp_path, monkeypatch, function):
    file, state = tmp_path / "run.safetensors", {}
    original = getattr(os, function)

    class Watching(StopCondition):
        def after_step(self, history):
            if history.steps == 3:
                state.update(file=file.read_bytes(), steps=optimizer.steps, weight=weight.data, grad=weight.grad)
                monkeypatch.setattr(os, function, full)
            return ""

    def full(*arguments):
        if function == "write" and "begun" not in state:
            state["begun"] = True
            return original(arguments[0], arguments[1][:10])  # a part is written
        raise OSError(errno.ENOSPC, "No space left on device")

    weight = Value(0.0)
    optimizer = optim.SGD([weight], lr=0.1, momentum=0.9)
    with pytest.raises(TrainingError, match=rf"after step 3: .*could not write {file}: No space left") as caught:
        fit(
            lambda x: (weight - x) ** 2, [1.0, 2.0], optimizer, epochs=5, stop=Watching(), checkpoint=file,
            checkpoint_every=0,
        )  # fmt: skip
    monkeypatch.setattr(os, function, original)
    assert isinstance(caught.value.__cause__, OSError)
    assert "held before is untouched" in str(caught.value)
    assert caught.value.history.steps == 3
    assert (optimizer.steps, weight.data, weight.grad) == (3, state["weight"], state["grad"])
    assert file.read_bytes() == state["file"]
    assert read(file)[1]["history"]["loss"] == caught.value.history.loss[:2]
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_system_that_takes_no_more_leaves_the_last_checkpoint(tmp_path):
    file = tmp_path / "run.safetensors"
    run(file, epochs=1)
    before = file.read_bytes()
    program = f"""
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    run({str(file)!r})
except TrainingError as error:
    print(error)
"""
    out = in_a_process(program).communicate()[0]
    assert f"could not write {file}: File too large" in out
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_told_before_training(tmp_path):
    weight = Value(1.0)
    with pytest.raises(TrainingError, match=r"could not write .*nowhere"):
        fit(lambda x: weight * x, [1.0], optim.SGD([weight]), epochs=1, checkpoint=tmp_path / "nowhere" / "run")
    assert weight.data == 1.0


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_checkpoint_that_is_no_file_is_told_before_training(tmp_path, make):
    make(tmp_path / "run")
    weight = Value(1.0)
    with pytest.raises(TrainingError, match=r"could not write .*(no regular file|Is a directory)"):
        fit(lambda x: weight * x, [1.0], optim.SGD([weight]), epochs=1, checkpoint=tmp_path / "run")
    assert weight.data == 1.0


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    run(tmp_path / "run", epochs=1)
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "disk" / "run").exists()


# Damaged files, and others'


class Refusal:
    """Tries to continue a run from bytes, and to load them. Checks that both raise an error and change nothing."""

    def __init__(self, folder):
        self.file = folder / "run.safetensors"
        self.train(1)
        self.content = self.file.read_bytes()
        self.model, self.rng = nn.MLP(2, [3, 3], rng=random.Random(9)), random.Random(0)
        self.optimizer = optim.Adam(self.model.parameters())

    def train(self, epochs):
        model = nn.MLP(2, [3, 3], rng=random.Random(0))
        loss = lambda x, y: cross_entropy(model(x), y)  # noqa: E731
        fit(loss, SAMPLES, optim.Adam(model.parameters()), epochs=epochs, model=model, checkpoint=self.file)

    def state(self):
        return self.model.state_dict(), self.optimizer.state_dict(), self.rng.getstate()

    def check(self, content, message="damaged|not a safetensors file"):
        self.file.write_bytes(content)
        before = self.state()
        loss = lambda x, y: cross_entropy(self.model(x), y)  # noqa: E731
        with pytest.raises(ValueError, match=message) as caught:
            fit(loss, SAMPLES, self.optimizer, epochs=1, model=self.model, checkpoint=self.file, rng=self.rng)
        assert "run.safetensors" in str(caught.value)
        assert self.state() == before
        assert self.file.read_bytes() == content

    def is_refused(self):
        try:
            read(self.file)
        except ValueError as error:
            return str(error).startswith(f"{self.file} is ")
        return False

    def check_loading(self, content):
        self.file.write_bytes(content)
        before = self.model.state_dict()
        with pytest.raises(ValueError, match=r"run\.safetensors (is damaged|is not a safetensors file)"):
            load_parameters(self.model, self.file)
        assert self.model.state_dict() == before


@pytest.fixture
def refusal(tmp_path):
    return Refusal(tmp_path)


def test_a_checkpoint_truncated_at_every_byte_is_refused(refusal):
    for length in reversed(range(len(refusal.content))):
        os.truncate(refusal.file, length)
        assert refusal.is_refused(), length
    for length in range(0, len(refusal.content), 300):
        refusal.check(refusal.content[:length])
        refusal.check_loading(refusal.content[:length])


def test_a_thousand_random_corruptions_are_refused(refusal):
    rng, whole = random.Random(0), refusal.content
    for i in range(1000):
        content = bytearray(whole)
        kind = rng.randrange(5)
        at, length = rng.randrange(len(whole)), rng.randint(1, 64)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del content[at : at + length]
        elif kind == 3:
            content[at:at] = rng.randbytes(length)
        else:
            other = rng.randrange(len(whole))
            content[at : at + length] = whole[other : other + length]
        if content == whole:
            continue
        refusal.check_loading(bytes(content))
        if i % 10 == 0:
            refusal.check(bytes(content))


def test_a_checksum_that_lost_its_name_is_no_foreign_file(refusal):
    lost = refusal.content.replace(b'"micrograd":"2"', b'"microcosm":"2"').replace(b'"checksum"', b'"checkers"')
    assert b'"checkers"' in lost
    refusal.check_loading(lost)
    refusal.check(lost)


def test_every_single_changed_byte_is_noticed(refusal):
    with open(refusal.file, "r+b", buffering=0) as file:
        for at, byte in enumerate(refusal.content):
            os.pwrite(file.fileno(), bytes([byte ^ 0x20]), at)  # a capital letter for a small one, a blank for a 0
            assert refusal.is_refused(), at
            os.pwrite(file.fileno(), bytes([byte]), at)
    read(refusal.file)


def test_foreign_files_are_refused_and_left_alone(refusal, tmp_path):
    for content in (b"", b"hello", b"\x80\x04\x95pickle", b"PK\x03\x04" + bytes(100), b"{}" * 50):
        refusal.check(content)
        refusal.check_loading(content)
    save_file({"0.weight": np.zeros((3, 2))}, tmp_path / "other")
    refusal.check((tmp_path / "other").read_bytes(), "holds parameters, but no run")
    save_parameters(refusal.model, tmp_path / "other")
    refusal.check((tmp_path / "other").read_bytes(), "holds parameters, but no run")


def test_no_code_is_run_and_nothing_taken_from_a_forged_checkpoint(refusal, tmp_path):
    from micrograd.training import checkpoints

    tensors, state = read(refusal.file)

    def forge(**changes):
        checkpoints.write(tmp_path / "forged", tensors, {**state, **changes})
        refusal.check((tmp_path / "forged").read_bytes(), "can't be gone on from, and nothing was changed")

    for changes in (
        {"run": None}, {"run": []}, {"epoch": "x"}, {"epoch": None}, {"generators": [[3, [1, 2], None]] * 2},
        {"generators": []}, {"generators": [["__import__('os')"]] * 2}, {"optimizer": {}}, {"optimizer": []},
        {"optimizer": {**state["optimizer"], "type": "SGD"}}, {"history": {}}, {"history": None},
        {"history": {**state["history"], "loss": ["x"]}}, {"history": {**state["history"], "flow": None}},
        {"history": {**state["history"], "metrics": []}}, {"stop": [1]}, {"shuffled_from": 5, "position": []},
        {"position": None}, {"epoch_loss": {}},
    ):  # fmt: skip
        forge(**changes)


def test_a_checkpoint_of_another_run_lists_the_differences(refusal, tmp_path):
    refusal.file.write_bytes(refusal.content)
    model = nn.MLP(2, [4, 3], rng=random.Random(0))
    optimizer, rng = optim.SGD(model.parameters(), lr=0.5), random.Random(0)
    before = model.state_dict(), optimizer.state_dict(), rng.getstate()
    with pytest.raises(ValueError, match=r"can't be gone on from, and nothing was changed") as caught:
        fit(
            lambda x, y: cross_entropy(model(x), y), SAMPLES[:5], optimizer, epochs=1, model=model, rng=rng,
            checkpoint=refusal.file, batch_size=2, schedule=optim.StepLR(optimizer, 1), stop=EarlyStopping(3),
            validation=SAMPLES, metrics={"m": lambda x, y: 1},
        )  # fmt: skip
    message = str(caught.value)
    for difference in (
        "optimizer: Adam in the checkpoint, SGD here",
        "schedule: None in the checkpoint, StepLR here",
        "stop: [] in the checkpoint, [{'type': 'EarlyStopping', 'patience': 3, 'min_delta': 0.0}] here",
        "samples: 10 in the checkpoint, 5 here",
        "batch_size: 1 in the checkpoint, 2 here",
        "validation samples: None in the checkpoint, 10 here",
        "metrics: [] in the checkpoint, ['m'] here",
        "shape of 0.weight: [3, 2] in the checkpoint, [4, 2] here",
        "shape of 2.weight: [3, 3] in the checkpoint, [3, 4] here",
    ):
        assert difference in message
    assert (model.state_dict(), optimizer.state_dict(), rng.getstate()) == before
    assert refusal.file.read_bytes() == refusal.content


# Files of parameters


def test_parameters_are_saved_and_loaded_exactly(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Residual(nn.Linear(3, 3)))
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3]
    for i, parameter in enumerate(model.parameters()):
        parameter.data = values[i % len(values)]
    model.layers[1].running_mean = [1.5, 2.5, 1e-300]
    save_parameters(model, tmp_path / "model")
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Residual(nn.Linear(3, 3)))
    load_parameters(other, tmp_path / "model")
    assert repr(other.state_dict()) == repr(model.state_dict())
    arrays = load_file(tmp_path / "model")
    assert arrays["0.weight"].shape == (3, 2)
    assert arrays["0.weight"].dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, np.uint64, np.uint16])
def test_other_number_formats_are_read(tmp_path, dtype):
    save_file({"weight": np.array([[1, 2]], dtype), "bias": np.array([3], dtype)}, tmp_path / "model")
    line = nn.Linear(2, 1)
    load_parameters(line, tmp_path / "model")
    assert line([10, 100])[0].data == 213.0


def craft_file(tensors, data=b"", **metadata):
    """Makes a safetensors file by hand: for each tensor, the type of its numbers, its shape, and their place."""
    header = {
        name: {"dtype": kind, "shape": sizes, "data_offsets": ends} for name, (kind, sizes, *ends) in tensors.items()
    }
    header = json.dumps({"__metadata__": metadata, **header}).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    "metadata",
    [
        {"hash": "0123456789abcdef" * 4},
        {"checksum": "0123456789abcdef" * 4},
        {"checksum": "crc32:01234567"},
        {"micrograd": "the paper that we cite"},
        {"micrograd": "1", "checksum": "0123456789abcdef" * 4, "run": "no JSON"},
        {"run": "[["},
        {"format": "pt", "training": json.dumps({"checksum": "0123456789abcdef" * 4})},
    ],
    ids=str,
)
def test_others_files_load_whatever_their_metadata_say(tmp_path, metadata):
    save_file({"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])}, tmp_path / "model", metadata)
    line = nn.Linear(2, 1)
    load_parameters(line, tmp_path / "model")
    assert line([10, 100])[0].data == 213.0
    with pytest.raises(ValueError, match="holds parameters, but no run"):
        fit(lambda x: line(x)[0], [[1, 2]], optim.SGD(line.parameters()), epochs=1, checkpoint=tmp_path / "model")


LIES = {
    "no numbers in many rows": ({"a": ("F64", [30_000_000, 0], 0, 0)}, 0),
    "no numbers in many columns of rows": ({"a": ("F64", [3000, 10_000, 0], 0, 0)}, 0),
    "no numbers in the rows of many tensors": ({f"a{i}": ("F64", [9000, 0], 0, 0) for i in range(200)}, 0),
    "many lists of one number": ({"a": ("U8", [20_000, *[1] * 30], 0, 20_000)}, 20_000),
    "a negative size": ({"a": ("F64", [-1], 0, 8)}, 8),
    "two negative sizes": ({"a": ("F64", [-1, -1], 0, 8)}, 8),
    "a huge size": ({"a": ("F64", [2**62], 0, 8)}, 8),
    "a size beyond 64 bits": ({"a": ("F64", [2**70], 0, 8)}, 8),
    "a product beyond 64 bits": ({"a": ("F64", [2**32, 2**32], 0, 0)}, 0),
    "a size that is a fraction": ({"a": ("F64", [1.5], 0, 8)}, 8),
    "more sizes than there can be": ({"a": ("F64", [1] * 5000, 0, 8)}, 8),
    "overlapping numbers": ({"a": ("F64", [1], 0, 8), "b": ("F64", [1], 0, 8)}, 8),
    "a gap": ({"a": ("F64", [1], 8, 16)}, 16),
    "numbers beyond the end": ({"a": ("F64", [2], 0, 16)}, 8),
    "numbers that end before they begin": ({"a": ("F64", [1], 8, 0)}, 8),
    "a negative begin": ({"a": ("F64", [1], -8, 0)}, 8),
    "bytes that belong to nothing": ({"a": ("F64", [1], 0, 8)}, 16),
}


@pytest.mark.parametrize(("tensors", "size"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused_before_memory_is_taken(tmp_path, tensors, size):
    (tmp_path / "model").write_bytes(craft_file(tensors, bytes(size)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="is not a safetensors file, or damaged"):
            read(tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("header", [b"[" * 100_000, b"{}" * 10, b'{"a":1}', b"null", b'{"__metadata__":[]}', b"\xff"])
def test_a_header_that_is_none_is_refused(tmp_path, header):
    (tmp_path / "model").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="is not a safetensors file, or damaged"):
        read(tmp_path / "model")


def test_tensors_without_numbers_and_numbers_that_are_not_finite_are_read(tmp_path):
    tensors = {
        "none": np.zeros((3, 0)), "outside": np.zeros((0, 2**40)), "deep": np.zeros((4, 2, 0, 3)), "one": np.array(5.0),
        "nested": np.arange(12.0).reshape(2, 3, 2), "kernel": np.ones((64, 32, 1, 1), np.uint8),
        "wild": np.array([np.inf, -np.inf, np.nan, -0.0]), "narrow": np.array([np.inf, np.nan], np.float16),
        "flags": np.array([True, False]),
    }  # fmt: skip
    save_file(tensors, tmp_path / "file")
    found, run = read(tmp_path / "file")
    assert run is None
    assert {name: repr(entry) for name, entry in found.items()} == {
        name: repr((array * 1.0).tolist()) for name, array in tensors.items()
    }


def test_a_run_whose_numbers_are_not_finite_is_kept(tmp_path):
    from micrograd.training import checkpoints

    tensors, run = {"a": [math.inf, -0.0, 5e-324]}, {"best": math.inf, "history": {"loss": [math.nan]}}
    checkpoints.write(tmp_path / "run", tensors, run)
    assert repr(read(tmp_path / "run")) == repr((tensors, run))


def test_a_file_of_ours_that_another_program_changed_says_so(tmp_path):
    save_parameters(nn.Linear(2, 1), tmp_path / "ours")
    with safe_open(tmp_path / "ours", "numpy") as file:
        metadata = file.metadata()
    save_file({name: array * 2 for name, array in load_file(tmp_path / "ours").items()}, tmp_path / "changed", metadata)
    with pytest.raises(ValueError, match="is damaged, or was changed by another program"):
        load_parameters(nn.Linear(2, 1), tmp_path / "changed")


# Two runs with one checkpoint


def test_a_second_run_with_the_same_checkpoint_is_refused(tmp_path):
    weight, other = Value(0.0), Value(0.0)

    def train(weight, **more):
        loss = lambda x: (weight - x) ** 2  # noqa: E731
        return fit(loss, [1.0], optim.SGD([weight], lr=0.1), epochs=2, checkpoint=tmp_path / "run", **more)

    def train_another(history):
        with pytest.raises(TrainingError, match=r"run is in use, by another run in this process or another one"):
            train(other)

    history = train(weight, callbacks=[train_another])
    assert history.epochs == 2
    assert other.data == 0.0
    train(other)
    assert other.data == weight.data
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_second_process_with_the_same_checkpoint_is_refused_until_the_first_is_killed(tmp_path, uninterrupted):
    file = str(tmp_path / "run")
    program = f"run({file!r}, at=9, then=lambda: (print('here', flush=True), time.sleep(600)))"
    process = in_a_process(program)
    assert process.stdout.readline() == "here\n"
    with pytest.raises(TrainingError, match="run is in use"):
        run(file)
    process.kill()
    process.communicate()
    assert run(file)[1] == uninterrupted
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_unknown_formats_and_other_models_are_refused(tmp_path):
    line = nn.Linear(2, 1, rng=random.Random(0))
    before = line.state_dict()
    (tmp_path / "model").write_bytes(craft_file({"weight": ("F8_E4M3", [1, 2], 0, 2)}, bytes(2)))
    with pytest.raises(ValueError, match="its numbers are F8_E4M3; float64 and float32 can be read"):
        load_parameters(line, tmp_path / "model")
    save_file({"weight": np.zeros((1, 3)), "slope": np.zeros(())}, tmp_path / "model")
    with pytest.raises(ValueError, match=r"model: this state does not fit(.|\n)*missing: bias(.|\n)*unknown: slope"):
        load_parameters(line, tmp_path / "model")
    assert line.state_dict() == before


def test_a_ragged_parameter_is_told():
    class Ragged(nn.Module):
        def __init__(self):
            self.w = [[Value(1.0)], [Value(1.0), Value(2.0)]]

    with pytest.raises(ValueError, match="w can't be saved as a tensor: its rows have different lengths"):
        save_parameters(Ragged(), "nowhere")


def test_without_safetensors_it_says_what_to_install_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    weight = Value(1.0)
    with pytest.raises(ImportError, match="needs numpy and safetensors: python -m pip install numpy safetensors"):
        fit(lambda x: weight * x, [1.0], optim.SGD([weight]), epochs=1, checkpoint=tmp_path / "run")
    assert weight.data == 1.0


def test_a_history_too_long_for_the_format_leaves_the_last_checkpoint_and_the_parameters(tmp_path, monkeypatch):
    weight, file = Value(1.0), tmp_path / "run"

    def enlarge(history):
        monkeypatch.setattr("micrograd.training.checkpoints._LIMIT", 1000)

    message = r"after step 1: .* can't hold the run: its state takes .* bytes, most for the history of 1 steps"
    with pytest.raises(TrainingError, match=message) as caught:
        fit(
            lambda x: weight * x, [1.0], optim.SGD([weight], lr=0.5), epochs=2, checkpoint=file, callbacks=[enlarge],
        )  # fmt: skip
    assert "the parameters are those after that step" in str(caught.value)
    assert read(file)[1]["epoch"] == 0
    assert weight.data == 0.5


@pytest.mark.slow
def test_the_limit_is_the_formats_own(tmp_path):
    from micrograd.training import checkpoints

    def write(count, character="x"):
        checkpoints.write(tmp_path / "run", {}, {"history": {"loss": []}, "padding": character * count})

    write(checkpoints._LIMIT - 2000)
    for count, character, message in (
        (checkpoints._LIMIT, "x", "can't hold the run"),
        (checkpoints._LIMIT // 4, '"', "can't hold the run"),  # each of them is four characters
        (checkpoints._LIMIT - 60, "x", "can't be written as safetensors: .*too large"),
    ):
        with pytest.raises(ValueError, match=message):
            write(count, character)
    assert len(read(tmp_path / "run")[1]["padding"]) == checkpoints._LIMIT - 2000


def test_the_state_is_plain_json(refusal):
    header = refusal.content[8 : 8 + int.from_bytes(refusal.content[:8], "little")]
    metadata = json.loads(header)["__metadata__"]
    assert set(metadata) == {"format", "micrograd", "checksum", "run"}
    assert json.loads(metadata["run"])["history"]["reason"] == "all 1 epochs were trained"

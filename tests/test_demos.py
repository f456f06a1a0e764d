"""The parts of the demos: reading MNIST's files, making two moons; and short runs of the other demos."""

import gzip
import importlib.util
import random
import re
import struct
import sys
from pathlib import Path

import pytest

from micrograd import nn

DEMOS = Path(__file__).parents[1] / "demos"


def load(name):
    spec = importlib.util.spec_from_file_location(Path(name).name, DEMOS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits, moons = load("digits"), load("moons")


def idx(sizes, data):
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(data)


IMAGES, LABELS = idx([3, 2, 2], range(0, 240, 20)), idx([3], [7, 0, 9])


def write(folder, packed):
    for part in ("train", "t10k"):
        for name, content in ((f"{part}-images-idx3-ubyte", IMAGES), (f"{part}-labels-idx1-ubyte", LABELS)):
            path = folder / (name + ".gz" * packed)
            path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_files_are_read(tmp_path, packed):
    write(tmp_path, packed)
    samples = digits.mnist(tmp_path, "t10k")
    assert [digit for _, digit in samples] == [7, 0, 9]
    assert samples[1][0] == [80 / 255, 100 / 255, 120 / 255, 140 / 255]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file .* nothing"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file of bytes: it begins with 89 50 4e 47"),
        (bytes([0, 0, 13, 1]) + bytes(8), "not an IDX file of bytes"),
        (IMAGES[:10], "truncated: 10 bytes, of which the header alone takes 16"),
        (IMAGES[:-1], "should hold 3×2×2 = 12 bytes, and holds 11"),
        (IMAGES + b"x", "should hold 3×2×2 = 12 bytes, and holds 13"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "damaged gzip file"),
        (gzip.compress(IMAGES, mtime=0)[:12] + b"xxxxxxxxxxxx", "damaged gzip file"),
        (LABELS, "as many images as labels"),
        (idx([2, 2, 2], range(8)), "as many images as labels"),
        (idx([3, 1, 4], range(12)), "square images"),
    ],
)
def test_a_foreign_or_truncated_file_is_an_error(tmp_path, content, message):
    write(tmp_path, packed=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        digits.mnist(tmp_path, "train")


def test_every_truncation_is_an_error(tmp_path):
    path = tmp_path / "images"
    for whole in (IMAGES, gzip.compress(IMAGES)):
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"truncated|not an IDX file|damaged gzip|should hold"):
                digits.read_idx(path)


def test_a_missing_file_is_named(tmp_path, monkeypatch, capsys):
    with pytest.raises(FileNotFoundError, match=r"none of train-images-idx3-ubyte, train-images-idx3-ubyte\.gz"):
        digits.mnist(tmp_path, "train")
    monkeypatch.setattr(sys, "argv", ["digits.py", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="digits: there is none of"):
        digits.main()


def test_the_split_of_the_small_digits_is_fixed():
    training, test = digits.small_digits()
    assert (len(training), len(test)) == (1438, 359)
    assert digits.small_digits()[1] == test
    assert {len(pixels) for pixels, _ in test} == {64}
    assert {digit for _, digit in test} == set(range(10))
    assert max(map(max, (pixels for pixels, _ in test))) == 1.0


def test_two_moons_are_two_half_circles():
    samples = moons.two_moons(50, 0.0, random.Random(0))
    assert sum(label for _, label in samples) == 0
    for (x, y), label in samples:
        centre = (0.0, 0.0) if label > 0 else (1.0, 0.5)
        assert (x - centre[0]) ** 2 + (y - centre[1]) ** 2 == pytest.approx(1.0)
        assert (y - centre[1]) * label >= 0


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a demo in its own folder, checks that it draws a picture, and returns its output, in lines."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        load(name).main()
        picture = tmp_path / "out" / name / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("how", [[], ["--eager"]], ids=str)
def test_a_gpt_learns_names_and_invents_new_ones(tmp_path, monkeypatch, capsys, how):
    pytest.importorskip("matplotlib")
    names = tmp_path / "names.txt"
    names.write_text("anna\nnana\nhanna\n" + "x" * 16 + "\n\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpt.py", "--file", str(names), "--steps", "112", *how])
    load("read/gpt").main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 names in 3 characters, 3456 parameters"
    before, after = (float(part.split()[-1]) for part in lines[2].split(";"))
    assert after < 0.7 * before
    assert (tmp_path / "out" / "read" / "gpt" / "loss.png").exists()


ZOO = sorted(path.relative_to(DEMOS).with_suffix("").as_posix() for path in DEMOS.glob("*/*.py"))


@pytest.mark.parametrize("table", ["README.md", "README.zh.md"])
def test_the_tables_of_the_zoo_name_each_animal_and_its_picture(table):
    text = (DEMOS / table).read_text(encoding="utf-8")
    for name in ZOO:
        assert f"]({name}.py)" in text
    for picture in re.findall(r'src="([^"]*)"', text):
        assert (DEMOS / picture).exists()


def test_the_cart_moves_as_that_of_gymnasium():
    gymnasium = pytest.importorskip("gymnasium")
    move, rng = load("learn/reinforce").move, random.Random(0)
    world = gymnasium.make("CartPole-v1").unwrapped
    for seed in range(20):
        state = world.reset(seed=seed)[0].tolist()
        fell = False
        while not fell:
            world.state = tuple(state)
            action = rng.randrange(2)
            expected, _, over, *_ = world.step(action)
            state, fell = move(state, action)
            assert state == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)
            assert fell == over


def test_optimizers_race_down_valleys_whose_floor_is_0():
    demo = load("optimizers")
    for function, start, minimum, window in demo.VALLEYS:
        assert function(*minimum) == pytest.approx(0)
        for point in (start, minimum):
            assert all(low < x < high for x, (low, high) in zip(point, window, strict=True))


def test_optimizers_race(run):
    lines = run("optimizers", "--steps", "3")
    names = [line.split()[0] for line in lines if "from the minimum" in line]
    assert len(names) == 22
    assert names[:11] == names[11:]
    assert len(set(names)) == 11


def test_a_path_out_of_the_window_ends_at_infinity():
    demo = load("optimizers")
    function, start, _, window = demo.VALLEYS[1]
    path = demo.descend(function, start, window, demo.optim.SGD([demo.Value(x) for x in start], lr=5.0), 50)
    assert len(path) == 3
    assert path[-1] == (float("inf"), float("inf"))


def test_descent_counts_its_updates(run):
    rows = [line.split() for line in run("descent", "--epochs", "2")]
    assert [row[:3] for row in rows[1:4]] == [
        ["batch", "100", "2"],
        ["mini-batch", "20", "10"],
        ["stochastic", "1", "200"],
    ]
    assert len({row[4] for row in rows[1:4]}) == 1  # all start with the same loss
    assert all(float(row[5]) < float(row[4]) for row in rows[1:4])


def test_gradients_vanish_in_depth(run):
    lines = run("vanishing", "--steps", "1", "--depth", "12")
    first, last = zip(*(map(float, line.split()[-4:-2]) for line in lines[2:8]), strict=True)
    assert first[0] < 1e-4 * last[0]  # sigmoid
    assert first[3] > 1e-2 * last[3]  # ReLU
    assert any("Gradients vanish on the way to" in line for line in lines)


def test_regularisation_is_compared(run):
    lines = run("regularise", "--epochs", "2")
    rows = [line for line in lines if " after " in line]
    assert [row[:17].strip() for row in rows] == load("regularise").METHODS
    assert [row[17:25].strip() for row in rows] == ["2"] * 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_digits_are_learned_by_a_healthy_network(seed):
    training, test = digits.small_digits()
    rng = random.Random(seed)
    model = nn.MLP(64, [32, 10], activation=digits.ACTIVATION, rng=rng)
    report = digits.train(model, training, test, 10, rng).gradient_flow()
    assert report.ok
    assert sum(layer.dead for layer in report.layers) == 0
    assert sum(digits.guess(digits.score(model, pixels)) == digit for pixels, digit in test) / len(test) >= 0.965

"""PyTorch loads our files, and we load PyTorch's: the outputs are the same."""

import random

import pytest

from micrograd import nn, optim
from micrograd.functional import cross_entropy
from micrograd.training import fit, load_parameters, save_parameters

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

INPUTS = [[0.5, -1.0, 2.0], [0.0, 0.25, -3.0], [1.5, 1.0, 0.1]]


def ours():
    return nn.MLP(3, [5, 4, 2], activation="tanh", rng=random.Random(0))


def theirs(dtype=torch.float64):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)]
    return torch.nn.Sequential(*layers).to(dtype)


def outputs(model):
    if isinstance(model, torch.nn.Module):
        dtype = next(model.parameters()).dtype
        return model(torch.tensor(INPUTS, dtype=dtype)).tolist()
    return [[y.data for y in model(x)] for x in INPUTS]


def same(a, b, tolerance):
    assert [y for row in outputs(a) for y in row] == pytest.approx(
        [y for row in outputs(b) for y in row], rel=tolerance, abs=tolerance
    )


def test_our_file_in_pytorch(tmp_path):
    model, other = ours(), theirs()
    save_parameters(model, tmp_path / "model.safetensors")
    assert other.load_state_dict(safetensors.load_file(tmp_path / "model.safetensors")) == ([], [])
    same(model, other, 1e-14)
    assert safetensors.load_model(theirs(), tmp_path / "model.safetensors") == (set(), [])


def test_our_checkpoint_in_pytorch(tmp_path):
    model, other = ours(), theirs()
    loss = lambda x, y: cross_entropy(model(x), y)  # noqa: E731
    data = [(x, i % 2) for i, x in enumerate(INPUTS)]
    fit(loss, data, optim.Adam(model.parameters()), epochs=3, model=model, checkpoint=tmp_path / "run.safetensors")
    other.load_state_dict(safetensors.load_file(tmp_path / "run.safetensors"))
    same(model, other, 1e-14)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-14), (torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 1e-1)],
)
def test_pytorchs_file_in_ours(tmp_path, dtype, tolerance):
    model, other = ours(), theirs(dtype)
    safetensors.save_file(other.state_dict(), tmp_path / "model.safetensors")
    load_parameters(model, tmp_path / "model.safetensors")
    same(model, other, tolerance)
    for entry, tensor in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert entry == tensor.double().tolist()  # the parameters themselves are exact


def test_buffers_both_ways(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4, rng=random.Random(0)), nn.BatchNorm(4), nn.ReLU(), nn.LayerNorm(4))
    other = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.LayerNorm(4)
    ).double()
    other(torch.tensor(INPUTS, dtype=torch.float64))
    safetensors.save_file(other.state_dict(), tmp_path / "theirs.safetensors")
    load_parameters(model, tmp_path / "theirs.safetensors")
    same(model.eval(), other.eval(), 1e-12)
    assert model.layers[1].num_batches_tracked == 1

    model.train()(INPUTS)
    save_parameters(model, tmp_path / "ours.safetensors")
    other.load_state_dict(safetensors.load_file(tmp_path / "ours.safetensors"))
    same(model.eval(), other.eval(), 1e-12)


def test_training_is_pytorchs(tmp_path):
    """Runs three epochs of Adam, from the same parameters and in the same order."""
    model, other = ours(), theirs()
    save_parameters(model, tmp_path / "start.safetensors")
    other.load_state_dict(safetensors.load_file(tmp_path / "start.safetensors"))
    data = [(x, i % 2) for i, x in enumerate(INPUTS)]
    loss = lambda x, y: cross_entropy(model(x), y)  # noqa: E731
    history = fit(loss, data, optim.Adam(model.parameters(), lr=0.1), epochs=3, batch_size=2, shuffle=False)
    optimizer, losses = torch.optim.Adam(other.parameters(), lr=0.1), []
    for _ in range(3):
        for batch in ([0, 1], [2]):
            x = torch.tensor([INPUTS[i] for i in batch], dtype=torch.float64)
            y = torch.tensor([i % 2 for i in batch])
            total = torch.nn.functional.cross_entropy(other(x), y)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            losses.append(total.item())
    assert history.loss == pytest.approx(losses, rel=1e-11)
    same(model, other, 1e-11)

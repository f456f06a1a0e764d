"""gradcheck of PyTorch's functions and modules: right gradients pass, and planted errors are named."""

import pytest

from micrograd.testing import GradcheckError, gradcheck, gradgradcheck

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors are computed by one thread, because several wait for each other on a machine that is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Wrong(torch.autograd.Function):
    """The identity, with an error of 1e-3 in the gradient of entry 1."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        gradient.view(-1)[1] *= 1.001
        return gradient


class Tenfold(torch.autograd.Function):
    """The identity, with ten times its gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 10 * gradient


def call(module, x):
    out = module(x, x, x) if isinstance(module, torch.nn.MultiheadAttention) else module(x)
    out = out[0] if isinstance(out, tuple) else out
    weights = torch.arange(1.0, out.numel() + 1, dtype=out.dtype).reshape(out.shape)
    return (out * weights).sin().sum()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (torch.nn.LSTM(2, 2), (3, 2)),
        (torch.nn.MultiheadAttention(2, 1), (3, 2)),
        (torch.nn.BatchNorm1d(3), (4, 3)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_modules(module, shape):
    module, x = module.double(), torch.randn(shape, dtype=torch.float64)
    before = {name: state.clone() for name, state in module.state_dict().items()}
    rows = gradcheck(call, [module, x]).rows
    assert {row.path.rsplit(".", 1)[0] for row in rows} >= {"x.0", "x.1"}
    assert len(rows) == x.numel() + sum(p.numel() for p in module.parameters())
    assert all(row.verdict == "ok" for row in rows if abs(row.analytic) > 1e-12)  # a key's bias has no effect
    with pytest.raises(GradcheckError, match=r"wrong by x\.0\.1\n"):
        gradcheck(lambda module, x: call(module, Wrong.apply(x)), [module, x])
    assert all((state == before[name]).all() for name, state in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    assert not x.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_single_precision(dtype):
    x = torch.tensor([0.5, 1.5, -0.7], dtype=dtype)
    assert {row.verdict for row in gradcheck(lambda x: x.sin().sum(), x).rows} == {"cannot tell"}
    assert {row.verdict for row in gradcheck(lambda x: Tenfold.apply(x).sum(), x, raises=False).rows} == {"wrong"}


def test_functions_of_several_outputs_and_second_derivatives():
    x, w = torch.tensor([[0.5, -1.0]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    assert {row.verdict for row in gradcheck(lambda x, w, n: (x @ w).tanh() ** n, [x, w, 2]).rows} == {"ok"}
    assert gradgradcheck(lambda x: x.exp().prod(), x).ok
    with pytest.raises(GradcheckError, match=r"0 by x\.0\.1"):
        gradcheck(lambda x: Wrong.apply(x).cumsum(1), x + 0 * x.flip(1))


def test_dropout_is_random():
    with pytest.raises(ValueError, match="is random"):
        gradcheck(torch.nn.Dropout(), torch.ones(3, dtype=torch.float64))


def test_outputs_that_depend_on_no_input_have_the_gradient_0():
    x = torch.tensor([0.5, 2.0], dtype=torch.double)
    assert gradcheck(lambda x: [x.sum(), torch.tensor(3.0), (x > 1).sum()], [x]).ok
    with pytest.raises(GradcheckError, match=r"wrong by 0 by x\.0, 0 by x\.1, 1 by x\.0, 1 by x\.1"):
        gradcheck(lambda x: [x.detach().sum(), (x * x).sum().item() + x.sum()], [x])


def test_an_expanded_tensor_is_an_input():
    x = torch.tensor([2.0], dtype=torch.double).expand(3)
    assert len(gradcheck(lambda x: (x * x).sum(), [x]).rows) == 3
    assert x.tolist() == [2.0] * 3

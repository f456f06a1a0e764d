"""Compares losses, normalisations, initialisers and states with PyTorch: values, first and second derivatives."""

import inspect
import math
import random

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed; closed forms and differences check the same")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from micrograd import Value, functional, grad, nn  # noqa: E402

F = torch.nn.functional
TOLERANCE = 1e-10


def tensor(numbers, requires_grad=False):
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=requires_grad)


def values(numbers):
    return [values(item) for item in numbers] if isinstance(numbers, list) else Value(numbers)


def flat(tree):
    return [leaf for item in tree for leaf in flat(item)] if isinstance(tree, list) else [tree]


def same_derivatives(ours, our_inputs, theirs, their_inputs, tolerance=TOLERANCE):
    """Compares a sum of the outputs, with different weights, and its first and second derivatives by the inputs.

    The tolerance is relative for numbers above 1.
    """
    ours, theirs = flat(ours), theirs.reshape(-1)

    def compare(our, their):
        assert abs(our - their) <= tolerance * max(1.0, abs(their))

    for our, their in zip(ours, theirs.tolist(), strict=True):
        compare(our.data, their)
    weights = [math.sin(i + 1) for i in range(len(ours))]
    leaves = flat(our_inputs)
    our_slopes = grad(functional.dot(ours, weights), leaves, create_graph=True)
    slopes = torch.autograd.grad(theirs @ tensor(weights), their_inputs, create_graph=True, allow_unused=True)
    pairs = zip(slopes, their_inputs, strict=True)
    slopes = torch.cat([(torch.zeros_like(x) if slope is None else slope).reshape(-1) for slope, x in pairs])
    for our, their in zip(our_slopes, slopes.tolist(), strict=True):
        compare(our.data, their)
    weights = [math.cos(i + 1) for i in range(len(leaves))]
    our_seconds = grad(functional.dot(our_slopes, weights), leaves)
    if slopes.requires_grad:
        seconds = torch.autograd.grad(slopes @ tensor(weights), their_inputs, allow_unused=True)
        pairs = zip(seconds, their_inputs, strict=True)
        seconds = torch.cat([(torch.zeros_like(x) if second is None else second).reshape(-1) for second, x in pairs])
    else:
        seconds = torch.zeros(len(leaves))
    for our, their in zip(our_seconds, seconds.tolist(), strict=True):
        compare(our, their)


def any_numbers(rng):
    return rng.gauss(0, 2)


LOSSES = {  # functions that draw a prediction and a target, options, and PyTorch's loss
    "mse_loss": (any_numbers, any_numbers, {}, F.mse_loss),
    "l1_loss": (any_numbers, any_numbers, {}, F.l1_loss),
    "huber_loss": (any_numbers, any_numbers, {"delta": 1.5}, F.huber_loss),
    "hinge_loss": (
        any_numbers,
        lambda rng: rng.choice([-1.0, 1.0]),
        {},
        lambda s, t, reduction: F.margin_ranking_loss(s, torch.zeros_like(s), t, margin=1.0, reduction=reduction),
    ),
    "binary_cross_entropy": (lambda rng: rng.uniform(0.05, 0.95), lambda rng: rng.random(), {}, F.binary_cross_entropy),
    "binary_cross_entropy_with_logits": (
        lambda rng: rng.gauss(0, 10),
        lambda rng: rng.random(),
        {},
        F.binary_cross_entropy_with_logits,
    ),
    "kl_div": (any_numbers, lambda rng: rng.choice([0.0, rng.random()]), {}, F.kl_div),
    "kl_div of logarithms": (any_numbers, any_numbers, {"log_target": True}, F.kl_div),
}


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        (name, reduction)
        for name in LOSSES
        for reduction in ("mean", "sum", "none", "batchmean")
        if reduction != "batchmean" or "kl_div" in name
    ],
)
def test_losses(name, reduction):
    prediction, target, options, theirs = LOSSES[name]
    ours = getattr(functional, name.split()[0])
    for seed in range(20):
        rng = random.Random(seed)
        shape = rng.choice([(), (1,), (4,), (3, 2), (2, 1, 2)]) if reduction != "batchmean" else (3, 2)

        def draw(one, shape, rng=rng):
            return [draw(one, shape[1:]) for _ in range(shape[0])] if shape else one(rng)

        p, t = draw(prediction, shape), draw(target, shape)
        inputs, x = values(p), tensor(p, requires_grad=True)
        out = ours(inputs, t, reduction=reduction, **options)
        same_derivatives(out, inputs, theirs(x, tensor(t), reduction=reduction, **options), [x])


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div"])
def test_losses_by_the_targets(name):
    rng = random.Random(0)
    p, t = [rng.random() for _ in range(4)], [rng.random() for _ in range(4)]
    inputs, targets, x, y = values(p), values(t), tensor(p, requires_grad=True), tensor(t, requires_grad=True)
    out = getattr(functional, name)(inputs, targets, reduction="none")
    same_derivatives(out, [inputs, targets], getattr(F, name)(x, y, reduction="none"), [x, y])


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("error", [0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 1e-9])
def test_losses_at_their_kinks(error, delta):
    for options, name in (({"delta": delta}, "huber_loss"), ({}, "l1_loss")):
        p, x = Value(error), tensor([error], requires_grad=True)
        ours, theirs = getattr(functional, name)([p], [0.0], **options), getattr(F, name)(x, tensor([0.0]), **options)
        same_derivatives(ours, p, theirs, [x], tolerance=0.0)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("p", [0.0, 1.0, 1e-300, 1e-50, 1e-13, 1 - 2.0**-43])
def test_binary_cross_entropy_of_near_certainty(p, t):
    inputs, x = Value(p), tensor([p], requires_grad=True)
    ours, theirs = functional.binary_cross_entropy([inputs], [t]), F.binary_cross_entropy(x, tensor([t]))
    assert ours.data == pytest.approx(theirs.item(), rel=TOLERANCE)
    (slope,), (its_slope,) = grad(ours, [inputs]), torch.autograd.grad(theirs, [x])
    assert slope == pytest.approx(its_slope.item(), rel=TOLERANCE)  # PyTorch's second is not the derivative of this one


@pytest.mark.parametrize("size", [1.0, 20.0, 800.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_losses_of_classes(name, reduction, size):
    ours, theirs = getattr(functional, name), getattr(F, name)
    for seed in range(10):
        rng = random.Random(seed)
        classes = rng.randint(1, 4)
        logits = [[rng.gauss(0, size) for _ in range(classes)] for _ in range(rng.randint(1, 4))]
        targets = [rng.randrange(classes) for _ in logits]
        inputs, x = values(logits), tensor(logits, requires_grad=True)
        out = theirs(x, torch.tensor(targets), reduction=reduction)
        same_derivatives(ours(inputs, targets, reduction=reduction), inputs, out, [x])
        x = tensor(logits[0], requires_grad=True)
        out = theirs(x, torch.tensor(targets[0]), reduction=reduction)
        same_derivatives(ours(inputs[0], targets[0], reduction=reduction), inputs[0], out, [x])


def test_one_hot():
    assert functional.one_hot([2, 0], 3) == F.one_hot(torch.tensor([2, 0]), 3).tolist()


@pytest.mark.parametrize("call", ["huber_loss", "binary_cross_entropy", "cross_entropy", "mse_loss"])
def test_what_pytorch_does_not_take_is_not_taken_here(call):
    bad = {
        "huber_loss": [(([1.0], [1.0]), {"delta": d}) for d in (0.0, -1.0, math.nan)],
        "binary_cross_entropy": [
            (([p], [t]), {}) for p, t in ((1.1, 1), (-0.1, 1), (math.nan, 1), (0.5, 2), (0.5, math.nan))
        ],
        "cross_entropy": [(([1.0, 2.0], t), {}) for t in (2, -1)],
        "mse_loss": [(([1.0], [1.0]), {"reduction": r}) for r in ("avg", "batchmean", None)],
    }[call]
    for (p, t), options in bad:
        targets = tensor(t) if isinstance(t, list) else torch.tensor(t)
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            getattr(F, call)(tensor(p), targets, **options)
        with pytest.raises(ValueError, match=r"above 0|between 0 and 1|the index of one|a reduction is"):
            getattr(functional, call)(p, t, **options)


def batch_of(rng, size, width):
    return [[rng.gauss(1, 3) for _ in range(width)] for _ in range(size)]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_batch_normalisation(affine, momentum, eps):
    rng = random.Random(0)
    ours = nn.BatchNorm(3, eps=eps, momentum=momentum, affine=affine)
    theirs = torch.nn.BatchNorm1d(3, eps=eps, momentum=momentum, affine=affine).double()
    load_random(ours, theirs, rng)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        for size in (2, 5):
            compare_modules(ours, theirs, batch_of(rng, size, 3))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, entry in theirs.state_dict().items():
        assert ours.state_dict()[key] == pytest.approx(entry.tolist(), rel=1e-12)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_layer_normalisation(affine, eps):
    rng = random.Random(0)
    ours = nn.LayerNorm(4, eps=eps, elementwise_affine=affine)
    theirs = torch.nn.LayerNorm(4, eps=eps, elementwise_affine=affine).double()
    load_random(ours, theirs, rng)
    for _ in range(3):
        compare_modules(ours, theirs, batch_of(rng, 3, 4))
        compare_modules(ours, theirs, batch_of(rng, 1, 4)[0])


def load_random(ours, theirs, rng):
    for p in theirs.parameters():
        p.data = tensor([rng.gauss(0, 1) for _ in range(p.numel())]).reshape(p.shape)
    ours.load_state_dict(theirs.state_dict())


def compare_modules(ours, theirs, x):
    inputs, t = values(x), tensor(x, requires_grad=True)
    our_parameters = [entry for _, entry in sorted(ours._entries().items()) if not hasattr(entry, "module")]
    their_parameters = [p for _, p in sorted(theirs.named_parameters())]
    same_derivatives(ours(inputs), [inputs, our_parameters], theirs(t), [t, *their_parameters])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.ReLU(), torch.nn.ReLU()),
        (nn.LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
        (nn.Tanh(), torch.nn.Tanh()),
        (nn.Sigmoid(), torch.nn.Sigmoid()),
        (nn.Softplus(), torch.nn.Softplus()),
        (nn.SiLU(), torch.nn.SiLU()),
        (nn.GELU(), torch.nn.GELU()),
        (nn.GELU(approximate="tanh"), torch.nn.GELU(approximate="tanh")),
        (nn.Identity(), torch.nn.Identity()),
        (nn.Softmax(), torch.nn.Softmax(dim=-1)),
        (nn.Dropout(0.3).eval(), torch.nn.Dropout(0.3).eval()),
    ],
)
def test_activations(ours, theirs):
    compare_modules(ours, theirs, batch_of(random.Random(0), 3, 4))
    compare_modules(ours, theirs, batch_of(random.Random(0), 1, 4)[0])


def draw(rng, shape):
    return [draw(rng, shape[1:]) for _ in range(shape[0])] if shape else rng.gauss(0, 1)


def as_pytorchs(ours, theirs, *shapes):
    """Compares outputs and derivatives on inputs of the shapes, with states loaded both ways."""
    rng = random.Random(0)
    load_random(ours, theirs, rng)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for shape in shapes:
        compare_modules(ours, theirs, draw(rng, shape))
    ours.load_state_dict({**ours.state_dict(), **{key: draw(rng, p.shape) for key, p in theirs.named_parameters()}})
    theirs.load_state_dict({key: tensor(entry) for key, entry in ours.state_dict().items()}, strict=True)
    compare_modules(ours, theirs, draw(rng, shapes[0]))


CONVOLUTIONS = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"padding": 3, "bias": False},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"padding": "valid", "dilation": 2},
    {"groups": 2, "padding": 2, "stride": 3},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_convolutions_of_signals(options):
    theirs = torch.nn.Conv1d(2, 4, 3, **options).double()
    as_pytorchs(nn.Conv1d(2, 4, 3, **options), theirs, (2, 6), (2, 2, 5))


@pytest.mark.parametrize(
    "options",
    [
        *CONVOLUTIONS,
        {"kernel_size": (3, 1)},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 2), "dilation": (2, 1)},
        {"kernel_size": (2, 4), "padding": "same"},
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolutions_of_images(options):
    options = {"kernel_size": 2, **options}
    theirs = torch.nn.Conv2d(2, 2, **options).double()
    as_pytorchs(nn.Conv2d(2, 2, **options), theirs, (2, 4, 3), (2, 2, 3, 4))


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 1}, {"stride": 3}, {"padding": 1}, {"kernel_size": 3, "padding": 1, "stride": 2}],
)
@pytest.mark.parametrize("kind", ["MaxPool1d", "AvgPool1d", "MaxPool2d", "AvgPool2d"])
def test_pooling(kind, options):
    options = {"kernel_size": 2, **options}
    more = [{}, {"dilation": 2, "padding": 1}] if "Max" in kind else [{}, {"count_include_pad": False}]
    for further in more:
        ours, theirs = (getattr(where, kind)(**{**options, **further}) for where in (nn, torch.nn))
        shapes = [(2, 5, 6), (2, 1, 6, 5)] if "2d" in kind else [(2, 7), (2, 2, 6)]
        for shape in shapes:
            compare_modules(ours, theirs, draw(random.Random(0), shape))


@pytest.mark.parametrize("kind", ["MaxPool2d", "AvgPool2d"])
def test_pooling_by_pairs_of_sizes(kind):
    ours, theirs = (getattr(where, kind)((3, 2), (1, 2), (1, 0)) for where in (nn, torch.nn))
    compare_modules(ours, theirs, draw(random.Random(0), (2, 4, 5)))


def test_the_first_of_several_largest_numbers_has_the_gradient():
    rng = random.Random(0)
    for _ in range(20):
        image = [[[float(rng.randrange(3)) for _ in range(4)] for _ in range(4)]]
        compare_modules(nn.MaxPool2d(3, 1), torch.nn.MaxPool2d(3, 1), image)


@pytest.mark.parametrize("dimensions", [(), (0,), (1, 2), (2, 3), (-2,), (0, 1), (-3, -2)])
def test_flattening(dimensions):
    ours, theirs = nn.Flatten(*dimensions), torch.nn.Flatten(*dimensions)
    compare_modules(ours, theirs, draw(random.Random(0), (2, 3, 2, 2)))


def test_one_image_is_flattened_as_a_batch_of_one():
    image = draw(random.Random(0), (2, 3, 4))
    assert nn.Flatten()(image) == nn.Flatten(0)(image) == torch.nn.Flatten()(tensor([image]))[0].tolist()
    assert nn.Flatten(2)(image) == torch.nn.Flatten(2)(tensor([image]))[0].tolist()
    assert nn.Flatten()(image[0][0]) == image[0][0]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("name", "shapes"),
    [("BatchNorm1d", [(3, 2), (2, 2, 3)]), ("BatchNorm2d", [(2, 2, 2, 1), (1, 2, 2, 2)])],
)
def test_batch_normalisation_of_maps(name, shapes, training):
    ours, theirs = (getattr(where, name)(2, momentum=0.3) for where in (nn, torch.nn))
    theirs = theirs.double()
    ours.train(training), theirs.train(training)
    as_pytorchs(ours, theirs, *shapes)
    for key, entry in theirs.state_dict().items():
        assert ours.state_dict()[key] == pytest.approx(entry.tolist(), rel=1e-12)
    ours.eval(), theirs.eval()
    sample = draw(random.Random(0), shapes[0][1:])
    assert flat_numbers(ours(sample)) == pytest.approx(theirs(tensor([sample])).reshape(-1).tolist(), rel=1e-12)


def flat_numbers(tree):
    return [x.data for x in flat(tree)]


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.3}])
def test_group_normalisation(options):
    ours, theirs = (where.GroupNorm(2, 4, **options) for where in (nn, torch.nn))
    theirs = theirs.double()
    as_pytorchs(ours, theirs, (3, 4), (2, 4, 2, 1))
    image = draw(random.Random(0), (4, 2, 3))
    assert flat_numbers(ours(image)) == pytest.approx(theirs(tensor([image])).reshape(-1).tolist(), rel=1e-12)
    assert numbers_of(ours(image)) == numbers_of(ours([image])[0])


def numbers_of(tree):
    return [numbers_of(item) for item in tree] if isinstance(tree, list) else tree.data


def test_layers_of_sequences():
    shape = (2, 3, 4)
    as_pytorchs(nn.Linear(4, 2), torch.nn.Linear(4, 2).double(), shape)
    as_pytorchs(nn.LayerNorm(4, bias=False), torch.nn.LayerNorm(4, bias=False).double(), shape)
    compare_modules(nn.Softmax(), torch.nn.Softmax(dim=-1), draw(random.Random(0), shape))


def test_embeddings():
    ours, theirs = nn.Embedding(5, 3), torch.nn.Embedding(5, 3).double()
    load_random(ours, theirs, random.Random(0))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for index in (3, [4, 0, 0], [[1, 2], [3, 4]]):
        same_derivatives(ours(index), ours.weight, theirs(torch.tensor(index)), [theirs.weight])


CELLS = {"RNNCell": [{}, {"nonlinearity": "relu"}, {"bias": False}], "LSTMCell": [{}, {"bias": False}], "GRUCell": [{}]}


@pytest.mark.parametrize(("name", "options"), [(name, options) for name in CELLS for options in CELLS[name]])
def test_cells(name, options):
    rng = random.Random(0)
    ours, theirs = getattr(nn, name)(2, 3, **options), getattr(torch.nn, name)(2, 3, **options).double()
    load_random(ours, theirs, rng)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for batch in ((), (2,)):
        compare_states(ours, theirs, draw(rng, (*batch, 2)), None)
        state = [draw(rng, (*batch, 3)) for _ in range(1 + (name == "LSTMCell"))]
        compare_states(ours, theirs, draw(rng, (*batch, 2)), state)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "batch_first": True},
        {"bidirectional": True, "bias": False},
        {"num_layers": 2, "bidirectional": True},
    ],
)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers(name, options):
    rng = random.Random(0)
    ours, theirs = getattr(nn, name)(2, 2, **options), getattr(torch.nn, name)(2, 2, **options).double()
    load_random(ours, theirs, rng)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({key: tensor(entry) for key, entry in ours.state_dict().items()}, strict=True)
    cells = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    batch = 3 if options.get("batch_first") else 2
    compare_states(ours, theirs, draw(rng, (3, 2)), None)
    compare_states(
        ours, theirs, draw(rng, (3, 2, 2)), [draw(rng, (cells, batch, 2)) for _ in range(1 + (name == "LSTM"))]
    )


def compare_states(ours, theirs, x, state):
    inputs, t = values(x), tensor(x, requires_grad=True)
    states = [values(s) for s in state or []]
    their_states = [tensor(s, requires_grad=True) for s in state or []]

    def give(states):
        return None if not states else states[0] if len(states) == 1 else tuple(states)

    out, their_out = ours(inputs, give(states)), theirs(t, give(their_states))
    tensors = list(flat_tuples(their_out))
    assert [torch.tensor(numbers_of(lists)).shape for lists in flat_tuples(out)] == [x.shape for x in tensors]
    parameters = [entry for _, entry in sorted(ours._entries().items())]
    their_parameters = [p for _, p in sorted(theirs.named_parameters())]
    same_derivatives(
        list(flat_tuples(out)),
        [inputs, states, parameters],
        torch.cat([x.reshape(-1) for x in tensors]),
        [t, *their_states, *their_parameters],
    )


def flat_tuples(tree):
    if isinstance(tree, tuple):
        for item in tree:
            yield from flat_tuples(item)
    else:
        yield tree


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("MSELoss", {}, (3,)),
        ("L1Loss", {"reduction": "sum"}, (2, 3)),
        ("HuberLoss", {"delta": 0.5}, (3,)),
        ("HuberLoss", {"reduction": "none", "delta": 2.0}, (3, 1)),
        ("BCELoss", {}, (3,)),
        ("BCEWithLogitsLoss", {"reduction": "sum"}, (3,)),
        ("KLDivLoss", {"reduction": "batchmean"}, (2, 3)),
        ("KLDivLoss", {"log_target": True, "reduction": "sum"}, (2, 3)),
        ("CrossEntropyLoss", {"reduction": "sum"}, (4, 3)),
        ("CrossEntropyLoss", {}, (3,)),
        ("NLLLoss", {"reduction": "none"}, (4, 3)),
    ],
)
def test_losses_as_modules(name, options, shape):
    rng = random.Random(0)
    ours, theirs = (getattr(where, name)(**options) for where in (nn, torch.nn))
    p, t = (abs_of(draw(rng, shape)) for _ in range(2))
    if name in ("CrossEntropyLoss", "NLLLoss"):
        t = rng.randrange(3) if len(shape) == 1 else [rng.randrange(3) for _ in range(shape[0])]
    inputs, x = values(p), tensor(p, requires_grad=True)
    target = torch.tensor(t) if name in ("CrossEntropyLoss", "NLLLoss") else tensor(t)
    same_derivatives(ours(inputs, t), inputs, theirs(x, target), [x])


def abs_of(tree):  # between 0 and 1
    return [abs_of(item) for item in tree] if isinstance(tree, list) else abs(math.tanh(tree))


def test_a_network_is_pytorchs_with_the_same_state():
    rng = random.Random(0)
    ours = nn.Sequential(
        nn.Linear(3, 4, rng=rng), nn.BatchNorm(4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2, bias=False, rng=rng)
    )
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.LayerNorm(4),
        torch.nn.Linear(4, 2, bias=False),
    ).double()  # fmt: skip
    theirs.load_state_dict({key: tensor(entry) for key, entry in ours.state_dict().items()}, strict=True)
    compare_modules(ours, theirs, batch_of(rng, 3, 3))
    ours.load_state_dict(theirs.state_dict())
    ours.eval(), theirs.eval()
    compare_modules(ours, theirs, batch_of(rng, 3, 3))


def test_a_network_of_images_is_pytorchs():
    def network(where, norm):
        return where.Sequential(
            where.Conv2d(1, 2, 3, padding=1), norm(2), where.GELU(), where.MaxPool2d(2), where.Conv2d(2, 3, 2),
            where.GroupNorm(1, 3), where.SiLU(), where.AvgPool2d(1), where.Flatten(), where.Linear(3, 2),
        )  # fmt: skip

    ours, theirs = network(nn, nn.BatchNorm2d), network(torch.nn, torch.nn.BatchNorm2d).double()
    as_pytorchs(ours, theirs, (2, 1, 4, 4))
    ours.eval(), theirs.eval()
    as_pytorchs(ours, theirs, (2, 1, 4, 4))
    image = draw(random.Random(0), (1, 4, 4))
    assert flat_numbers(ours(image)) == pytest.approx(theirs(tensor([image]))[0].tolist(), rel=1e-10)


def test_an_mlp_is_pytorchs_sequence():
    ours = nn.MLP(3, [4, 5, 2], activation="relu", rng=random.Random(0))
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    theirs = torch.nn.Sequential(linear(3, 4), relu(), linear(4, 5), relu(), linear(5, 2)).double()
    theirs.load_state_dict({key: tensor(entry) for key, entry in ours.state_dict().items()}, strict=True)
    compare_modules(ours, theirs, [0.5, -1.0, 2.0])
    ours.load_state_dict(torch.nn.Sequential(linear(3, 4), relu(), linear(4, 5), relu(), linear(5, 2)).state_dict())


@pytest.mark.parametrize(
    ("init", "nonlinearity", "theirs"),
    [
        ("he", "relu", "kaiming_normal_"),
        ("he_normal", "tanh", "kaiming_normal_"),
        ("he_uniform", "relu", "kaiming_uniform_"),
        ("he_uniform", "leaky_relu", "kaiming_uniform_"),
        ("xavier", "sigmoid", "xavier_normal_"),
        ("xavier_normal", "tanh", "xavier_normal_"),
        ("xavier_uniform", "tanh", "xavier_uniform_"),
        ("xavier_uniform", "relu", "xavier_uniform_"),
    ],
)
def test_initialisers_draw_from_pytorchs_distributions(init, nonlinearity, theirs):
    layer = nn.Layer(250, 400, activation=nonlinearity, init=init, rng=random.Random(0))
    ours = tensor([[w.data for w in neuron.w] for neuron in layer.neurons])
    generator = torch.Generator().manual_seed(0)
    initialise, weights = getattr(torch.nn.init, theirs), torch.empty(400, 250, dtype=torch.float64)
    if "kaiming" in theirs:
        slope = 0.01 if nonlinearity == "leaky_relu" else 0
        initialise(weights, a=slope, nonlinearity=nonlinearity, generator=generator)
    else:
        initialise(weights, gain=torch.nn.init.calculate_gain(nonlinearity), generator=generator)
    for power in (1, 2, 4):
        moments = [(drawn**power).mean().item() for drawn in (ours, weights)]
        errors = [(drawn**power).std().item() / math.sqrt(1e5) for drawn in (ours, weights)]
        assert abs(moments[0] - moments[1]) <= 3 * math.hypot(*errors)
    if "uniform" in init:
        assert ours.abs().max().item() == pytest.approx(weights.abs().max().item(), rel=1e-3)


def test_dropout_drops_as_often_as_pytorchs():
    ours = tensor([y.data for y in nn.Dropout(0.3, random.Random(0))([1.0] * 100_000)])
    torch.manual_seed(0)
    theirs = torch.nn.Dropout(0.3)(torch.ones(100_000, dtype=torch.float64))
    assert ours.max().item() == pytest.approx(theirs.max().item(), rel=1e-15)
    error = theirs.std().item() / math.sqrt(1e5)
    assert abs(ours.mean().item() - 1) < 3 * error


@pytest.mark.parametrize("name", ["mse_loss", "huber_loss", "kl_div"])
def test_options_stand_where_pytorch_has_them_by_name(name):
    ours, theirs = (inspect.signature(getattr(where, name)).parameters for where in (functional, F))
    for option in list(ours)[2:]:
        assert ours[option].default == theirs[option].default


MASKS = [
    {},
    {"is_causal": True},
    {"attn_mask": [[True, False, True], [True, True, True]]},
    {"attn_mask": [[0.5, -math.inf, 0.0], [-1.0, 2.0, 0.0]]},
    {"scale": 0.3},
    {"attn_mask": [[True, False, True], [False, False, False]]},
]


@pytest.mark.parametrize("options", MASKS)
@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_attention(options, batch):
    rng = random.Random(0)
    parts = [draw(rng, (*batch, *shape)) for shape in ((2, 4), (3, 4), (3, 2))]
    inputs, tensors = [values(part) for part in parts], [tensor(part, requires_grad=True) for part in parts]
    mask = {"attn_mask": torch.tensor(options["attn_mask"])} if "attn_mask" in options else {}
    if mask and mask["attn_mask"].dtype != torch.bool:
        mask["attn_mask"] = mask["attn_mask"].double()
    with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivatives
        theirs = F.scaled_dot_product_attention(*tensors, **{**options, **mask})
    same_derivatives(functional.attention(*inputs, **options), inputs, theirs, tensors)


HIDDEN = [[False, True, False], [False, False, False]]


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        ({}, {}),
        ({"bias": False}, {"average_attn_weights": False}),
        ({"batch_first": True}, {"attn_mask": HIDDEN}),
        ({}, {"attn_mask": [[0.5, -math.inf, 0.0], [-1.0, 2.0, 0.0]], "key_padding_mask": [0.0, 0.0, -math.inf]}),
        ({}, {"need_weights": False, "key_padding_mask": [0.0, 0.5, -math.inf]}),
    ],
)
@pytest.mark.parametrize("is_batch", [False, True])
def test_attention_of_several_heads(options, mask, is_batch):
    rng = random.Random(0)
    ours = nn.MultiheadAttention(4, 2, **options)
    theirs = torch.nn.MultiheadAttention(4, 2, **options).double()
    load_random(ours, theirs, rng)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({key: tensor(entry) for key, entry in ours.state_dict().items()}, strict=True)

    def shape(length):
        order = (2, length) if options.get("batch_first") else (length, 2)
        return (*order, 4) if is_batch else (length, 4)

    if is_batch and "key_padding_mask" in mask:
        mask = {**mask, "key_padding_mask": [mask["key_padding_mask"]] * 2}
    parts = [draw(rng, shape(length)) for length in (2, 3, 3)]
    inputs, tensors = [values(part) for part in parts], [tensor(part, requires_grad=True) for part in parts]
    masks = {key: torch.tensor(entry) if isinstance(entry, list) else entry for key, entry in mask.items()}
    masks = {key: x.double() if getattr(x, "dtype", None) == torch.float32 else x for key, x in masks.items()}
    with sdpa_kernel(SDPBackend.MATH):
        out, their_out = ours(*inputs, **mask), theirs(*tensors, **masks)
    assert (out[1] is None) == (their_out[1] is None)
    their_parameters = [p for _, p in sorted(theirs.named_parameters())]
    our_parameters = [entry for _, entry in sorted(ours._entries().items())]
    given, expected = ([part for part in parts if part is not None] for parts in (out, their_out))
    assert [torch.tensor(numbers_of(part)).shape for part in given] == [part.shape for part in expected]
    expected = torch.cat([part.reshape(-1) for part in expected])
    same_derivatives(given, [inputs, our_parameters], expected, [*tensors, *their_parameters])


@pytest.mark.parametrize(
    "options",
    [{}, {"norm_first": True, "activation": "gelu", "batch_first": True}, {"bias": False, "layer_norm_eps": 0.1}],
)
def test_the_transformers_encoder_layer(options):
    ours = nn.TransformerEncoderLayer(4, 2, 3, dropout=0.0, **options)
    theirs = torch.nn.TransformerEncoderLayer(4, 2, 3, dropout=0.0, **options).double()
    with sdpa_kernel(SDPBackend.MATH):
        as_pytorchs(ours, theirs, (3, 4), (2, 2, 4))
    rng = random.Random(0)
    x = draw(rng, (3, 4))
    hidden = [[j > i for j in range(3)] for i in range(3)]
    padding = [False, True, False]
    expected = theirs(tensor(x), torch.tensor(hidden), torch.tensor(padding)).reshape(-1).tolist()
    assert flat_numbers(ours(x, hidden, padding)) == pytest.approx(expected, rel=1e-10)
    assert flat_numbers(ours(x, None, padding, is_causal=True)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_cosine_similarity_and_normalisation(shape):
    rng = random.Random(0)
    parts = [draw(rng, shape), draw(rng, shape)]
    inputs, tensors = [values(part) for part in parts], [tensor(part, requires_grad=True) for part in parts]
    ours, theirs = functional.cosine_similarity(*inputs), F.cosine_similarity(*tensors, dim=-1)
    same_derivatives([ours], inputs, theirs, tensors)
    same_derivatives(functional.normalize(inputs[0]), inputs[0], F.normalize(tensors[0], dim=-1), tensors[:1])


def test_the_cosine_of_a_vector_of_zeros():
    (zero, x), y = (values([0.0, 0.0]), values([3.0, 4.0])), tensor([0.0, 0.0], requires_grad=True)
    F.cosine_similarity(y, tensor([3.0, 4.0]), dim=0).backward()
    assert grad(functional.cosine_similarity(zero, x), zero) == pytest.approx(y.grad.tolist(), rel=1e-12)


def test_the_contrastive_loss_is_cross_entropy_of_similarities():
    rng = random.Random(0)
    parts = [draw(rng, (3, 4)), draw(rng, (5, 4))]
    inputs, (q, k) = [values(part) for part in parts], [tensor(part, requires_grad=True) for part in parts]
    scores = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / 0.3
    same_derivatives(functional.info_nce(*inputs, 0.3), inputs, F.cross_entropy(scores, torch.arange(3)), [q, k])


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_of_the_same_noise(hard):
    rng, again = random.Random(0), random.Random(0)
    logits = draw(random.Random(1), (2, 3))
    noise = tensor([[-math.log(-math.log(again.random())) for _ in line] for line in logits])
    inputs, x = values(logits), tensor(logits, requires_grad=True)
    soft = F.softmax((x + noise) / 0.5, dim=-1)
    largest = F.one_hot(soft.argmax(dim=-1), 3).double()
    theirs = largest - soft.detach() + soft if hard else soft
    same_derivatives(functional.gumbel_softmax(inputs, 0.5, hard, rng), inputs, theirs, [x])

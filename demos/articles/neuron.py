"""The forward pass, the sigmoid and its derivative by hand, as an article lists them; and backward(), which agrees.

    python demos/articles/neuron.py

The article's functions are here under their names: forward_pass, sigmoid_derivative, backward_pass. They take a layer
of three inputs and two outputs. The demo draws the graph of the first output, with all gradients, to
out/articles/neuron.svg.

Claim: what the article computes by hand is what backward() finds, to the last digit but two.
"""

import argparse
import math
import random
from pathlib import Path

from micrograd import Value, draw, functional

PICTURE = Path("out/articles/neuron.svg")


def sigmoid(x: Value) -> Value:
    return 1 / (1 + (-x).exp())


def forward_pass(input_vector: list[float], weights: list[list[Value]], bias: list[Value]) -> list[Value]:
    weighted_sum = [functional.dot(input_vector, column) + b for column, b in zip(zip(*weights), bias)]
    output = [sigmoid(total) for total in weighted_sum]
    return output


def sigmoid_derivative(x: float) -> float:
    """The derivative of the sigmoid; x is the sigmoid's output, not its input."""
    return x * (1 - x)


def backward_pass(output_errors: list[float], outputActivations: list[float]) -> list[float]:
    return [error * sigmoid_derivative(a) for error, a in zip(output_errors, outputActivations)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the weights")
    parser.add_argument("--quick", action="store_true", help="the same; it takes no time")
    rng = random.Random(parser.parse_args().seed)

    input_vector, target = [0.5, -1.0, 2.0], [1.0, 0.0]
    weights = [[Value(rng.gauss(0, 1), label=f"w{i}{j}") for j in range(2)] for i in range(3)]
    bias = [Value(0.0, label=f"b{j}") for j in range(2)]
    output = forward_pass(input_vector, weights, bias)
    loss = functional.sum((a - t) ** 2 for a, t in zip(output, target)) / 2
    loss.backward()

    outputActivations = [a.data for a in output]
    output_errors = [a - t for a, t in zip(outputActivations, target)]  # of the loss ½ Σ (a − t)²
    error_grad = backward_pass(output_errors, outputActivations)
    by_hand = [x * g for x in input_vector for g in error_grad] + error_grad
    found = [w.grad for row in weights for w in row] + [b.grad for b in bias]
    print("            by hand  backward()")
    for value, gradient in zip([*(w for row in weights for w in row), *bias], by_hand):
        print(f"d loss/d {value.label:3} {gradient:9.6f}  {value.grad:9.6f}")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw(output[0]).save(PICTURE)
    print(f"picture: {PICTURE}")
    if not all(math.isclose(a, b, rel_tol=1e-14) for a, b in zip(by_hand, found)):
        raise SystemExit("the claim does not hold: backward() disagrees")


if __name__ == "__main__":
    main()

"""Policy gradient: a network learns to balance a pole on a cart, and is only told how long it stood.

    python demos/learn/reinforce.py

REINFORCE (Williams, 1992): the cart is pushed to the left or to the right, as drawn from the policy's probabilities;
then each action becomes more likely by how much better the rest of its episode went than a second network, the
baseline, had expected. CartPole (Barto, Sutton and Anderson, 1983) is written out below: an episode ends where the pole
leans by 12°, the cart is 2.4 away from the middle, or after 500 steps. The demo draws out/learn/reinforce.png.

Claim: after training, the pole stands for 450 of 500 steps or more: the mean of 20 episodes.
"""

import argparse
import math
import random
from pathlib import Path

from micrograd import compile, nn, optim
from micrograd.functional import cross_entropy
from micrograd.training import Stepper

STEPS = 150_000  # of all episodes
TOGETHER = 8  # episodes per step of training
DISCOUNT = 0.99
LONGEST = 500  # steps of an episode
PICTURE = Path("out/learn/reinforce.png")


def move(state: list[float], action: int) -> tuple[list[float], bool]:
    """Pushes the cart for 0.02 s; returns the new state (place, speed, angle, angular speed), and whether it fell."""
    x, speed, angle, turning = state
    sine, cosine = math.sin(angle), math.cos(angle)
    push = ((10.0 if action else -10.0) + 0.05 * turning**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    acceleration = push - 0.05 * turn * cosine / 1.1
    state = [x + 0.02 * speed, speed + 0.02 * acceleration, angle + 0.02 * turning, turning + 0.02 * turn]
    return state, abs(state[0]) > 2.4 or abs(state[2]) > math.radians(12)


def play(policy, rng: random.Random, draws: bool = True) -> tuple[list[list[float]], list[int]]:
    """Plays an episode, by drawn actions or by those that are likelier; returns its states and actions."""
    states, actions = [[rng.uniform(-0.05, 0.05) for _ in range(4)]], []
    fell = False
    while not fell and len(actions) < LONGEST:
        left, right = (score.data for score in policy(states[-1]))
        actions.append(int((rng.random() if draws else 0.5) < 1 / (1 + math.exp(left - right))))
        state, fell = move(states[-1], actions[-1])
        states.append(state)
    return states[:-1], actions


def count_rewards(length: int) -> list[float]:
    """What is still to come at each step of an episode: a reward of 1 per step, of which later ones count less."""
    return [(1 - DISCOUNT ** (length - i)) / (1 - DISCOUNT) / 50 for i in range(length)]


def train(actor: nn.MLP, baseline: nn.MLP, steps: int, rng: random.Random) -> list[int]:
    """Returns how long each episode took."""
    policy, expect = compile(actor), compile(baseline)
    optimizers = [optim.Adam(model.parameters(), lr=0.02) for model in (actor, baseline)]
    actor_steps = Stepper(lambda state, action, gain: gain * cross_entropy(actor(state), action), optimizers[0])
    baseline_steps = Stepper(lambda state, reward: (baseline(state) - reward) ** 2, optimizers[1])
    lengths: list[int] = []
    while sum(lengths) < steps:
        states, actions, rewards = [], [], []
        for _ in range(TOGETHER):
            seen, done = play(policy, rng)
            states, actions, rewards = states + seen, actions + done, rewards + count_rewards(len(done))
            lengths.append(len(done))
        gains = rewards - expect.values(states)
        gains /= (gains**2).mean() ** 0.5
        optimizers[0].lr = 0.02 * (1 - sum(lengths) / (steps + TOGETHER * LONGEST))
        actor_steps.step(list(zip(states, actions, gains.tolist(), strict=True)))
        for _ in range(5):
            baseline_steps.step(list(zip(states, rewards, strict=True)))
    return lengths


def draw(lengths: list[int]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(lengths, ".", color="0.7", label="an episode")
    means = [sum(lengths[max(i - 24, 0) : i + 1]) / len(lengths[max(i - 24, 0) : i + 1]) for i in range(len(lengths))]
    axes.plot(means, color="tab:blue", linewidth=2, label="mean of 25")
    axes.set(title="how long the pole stands", xlabel="episode", ylabel="steps of 0.02 s")
    axes.legend(loc="upper left")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the initial weights and the episodes")
    parser.add_argument("--quick", action="store_true", help="do 1,000 steps, and do not check the claim")
    options = parser.parse_args()

    rng = random.Random(options.seed)
    actor = nn.MLP(4, [16, 2], activation="tanh", init="xavier", rng=rng)
    lengths = train(actor, nn.MLP(4, [16, 1], rng=rng), 1000 if options.quick else STEPS, rng)
    policy = compile(actor)
    stands = sum(len(play(policy, rng, draws=False)[1]) for _ in range(20)) / 20
    print(f"{len(lengths)} episodes, {sum(lengths):,} steps; now the pole stands for {stands:.0f} steps")
    draw(lengths)
    if not options.quick and stands < 450:
        raise SystemExit("the claim does not hold: the pole falls too early")


if __name__ == "__main__":
    main()

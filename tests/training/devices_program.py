"""What `test_devices` runs in a process of its own, where the CPU plays eight devices.

Prints as JSON what it found: how far several devices are from one, what they exchange, where the
data lie, and what a checkpoint of eight gives on fewer.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from cnn_jax.data import Split
from cnn_jax.models import Architecture
from cnn_jax.training import (
    Config,
    Examples,
    Task,
    Trainer,
    checkpoints,
    hyperparameters,
    make_run,
    to_device,
)
from cnn_jax.training.devices import MeshShape, make_mesh
from cnn_jax.training.grid import Trial

# No multiple of eight, so that what is split has to be filled up.
rng = np.random.default_rng(0)
DATA = Split(
    rng.integers(0, 255, (203, 8, 8, 1)).astype(np.uint8), rng.integers(0, 4, 203).astype(np.int32)
)
HELD_OUT = Split(DATA.images[:30], DATA.labels[:30])
TASK = Task((8, 8, 1), 4, (0.4,), (0.2,))
EPOCHS = 2
COLLECTIVE = re.compile(
    r" = (.*) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)


def difference(ours, theirs) -> float:
    """The largest over all arrays, relative to the largest number in each."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(
        float(np.max(np.abs(np.asarray(a) - np.asarray(b))) / (np.max(np.abs(b)) + 1e-12))
        for a, b in pairs
    )


def same_bits(ours, theirs) -> bool:
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def collectives(program: jax.stages.Compiled) -> list[str]:
    """The kinds in its text."""
    return sorted({match[2] for match in COLLECTIVE.finditer(program.as_text())})


def host_copy(tree):
    return jax.tree.map(np.array, tree)


class Lone:
    """One run on the devices of a mesh: a sweep of one trial."""

    def __init__(self, config: Config, shape: MeshShape, shard: bool = False):
        mesh = make_mesh(shape)
        self.train = to_device(DATA, mesh, shard)
        self.held_out = to_device(HELD_OUT, mesh, shard)
        run = make_run(config, TASK, mesh)
        self.trainer = Trainer(run, self.train, self.held_out, "map", mesh)
        self.trial = Trial(0, {}, 0, hyperparameters(config))
        self.program = self.trainer.program([self.trial])

    def start(self):
        return self.trainer.start([self.trial])

    def go_on(self, state, standing, epochs: int):
        for end in self.trainer.fit(state, standing, epochs):
            self.donated = all(leaf.is_deleted() for leaf in jax.tree.leaves(state.states))
            state, standing = end.state, end.standing
        return state, standing

    def end(self, state, standing):
        """The state as that of a lone run, and the metrics of every epoch."""
        return host_copy((self.trainer.alone(state), standing.trials[0].history))

    def guarded(self, state, standing) -> None:
        """Runs an epoch where nothing may come from or go to the host."""
        stacked = self.trainer._stack(standing)
        with jax.transfer_guard("disallow"):
            jax.block_until_ready(self.program(state, stacked, self.train))


def lone_runs(folder: Path) -> tuple[dict, dict]:
    results = {}
    for normalization in ("none", "batch"):
        for optimizer in ("gradient_descent", "momentum"):
            architecture = Architecture(
                filters=(4,), hidden=(8,), normalization=normalization, dropout=True
            )
            config = Config(architecture, optimizer=optimizer, batch_size=16, epochs=EPOCHS)
            one, eight = Lone(config, MeshShape()), Lone(config, MeshShape(batch=8))
            several = {"whole": eight}
            if optimizer == "momentum":
                several["sharded"] = Lone(config, MeshShape(batch=8), shard=True)
            end = one.end(*one.go_on(*one.start(), EPOCHS))
            for data, here in several.items():
                here.guarded(*here.start())
                found = here.end(*here.go_on(*here.start(), EPOCHS))
                images = re.findall(r"u8\[(\d+),8,8,1", here.program.as_text())
                results[f"{normalization} {optimizer} {data}"] = {
                    "difference": difference(found, end),
                    "donated": here.donated,
                    "collectives": collectives(here.program),
                    "images on each": shares(here.train),
                    "images in the program": sorted(set(map(int, images))),
                }
    return results, restored_runs(folder, config, one, eight)


def restored_runs(folder: Path, config: Config, one: Lone, eight: Lone) -> dict:
    """From eight devices after one epoch to four and to one, and to the end."""
    state, standing = eight.go_on(*eight.start(), 1)
    alone, (trial,) = eight.trainer.alone(state), standing.trials
    checkpoints.save(folder, alone, 1)
    held = host_copy(alone)
    end = eight.end(*eight.go_on(state, standing, EPOCHS))
    results = {}
    for fewer in (one, Lone(config, MeshShape(batch=4), shard=True)):
        like = fewer.trainer.like_alone(trial)
        restored = checkpoints.read(checkpoints.latest(folder)).restore(like)
        results[len(restored.epoch.sharding.device_set)] = {
            "same bits": same_bits(restored, held),
            "difference": difference(
                fewer.end(*fewer.go_on(*fewer.trainer.resume(restored, trial), EPOCHS)), end
            ),
        }
    return results


def shares(examples: Examples) -> list[int]:
    """How many images each device has."""
    return [shard.data.shape[0] for shard in examples.images.addressable_shards]


class Together:
    """Five trials, of which one diverges, on the devices of a mesh."""

    def __init__(self, config: Config, shape: MeshShape, vectorization: str, shard: bool = False):
        self.mesh = make_mesh(shape)
        self.train = to_device(DATA, self.mesh, shard)
        self.held_out = to_device(HELD_OUT, self.mesh, shard)
        run = make_run(config, TASK, self.mesh)
        self.trainer = Trainer(run, self.train, self.held_out, vectorization, self.mesh)
        self.trials = [
            Trial(0, {}, seed, hyperparameters(config, {"learning_rate": rate}))
            for seed, rate in enumerate((0.05, 0.1, 0.02, 1e9, 0.05))
        ]

    def go_on(self, state, standing, epochs: int):
        for end in self.trainer.fit(state, standing, epochs):
            self.donated = all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
            state, standing = end.state, end.standing
        return state, standing

    def end(self, state, standing) -> tuple:
        """What a table is made of, of those that did not diverge."""
        found = self.trainer.test(state, standing, range(5), self.held_out)
        scores = {index: row for index, (row, _) in found.items()}
        spots = [standing.places.index(index) for index in standing.alive]
        states = host_copy(jax.tree.map(lambda leaf: leaf[np.array(spots)], state.states))
        histories = [standing.trials[index].history for index in standing.alive]
        return states, histories, scores

    def collectives(self, state, standing) -> list[str]:
        """Of an epoch, run once where nothing may come from or go to the host."""
        stacked, program = self.trainer._stack(standing), self.trainer.program(self.trials)
        with jax.transfer_guard("disallow"):
            jax.block_until_ready(program(state, stacked, self.train))
        return collectives(program)


def sweeps(folder: Path) -> tuple[dict, dict]:
    architecture = Architecture(filters=(4,), hidden=(8,), normalization="batch", dropout=True)
    config = Config(architecture, optimizer="momentum", batch_size=16, epochs=EPOCHS)
    one, eight = (Together(config, shape, "map") for shape in (MeshShape(), MeshShape(8, 1)))
    expected = one.end(*one.go_on(*one.trainer.start(one.trials), EPOCHS))
    results = {}
    for name, several in {
        "trial:8 map": eight,
        "trial:4,batch:2 map": Together(config, MeshShape(4, 2), "map"),
        "trial:4,batch:2 vmap sharded": Together(config, MeshShape(4, 2), "vmap", shard=True),
    }.items():
        state, standing = several.go_on(*several.trainer.start(several.trials), EPOCHS)
        results[name] = {
            "difference": difference(several.end(state, standing), expected),
            "status": [trial.status for trial in standing.trials],
            "places": len(standing.places),
            "donated": several.donated,
            "collectives": several.collectives(state, standing),
            "images on each": shares(several.train),
        }
    fewer = {"one": one, "trial:2,batch:2": Together(config, MeshShape(2, 2), "map")}
    return results, restored_sweeps(folder, eight, fewer, expected)


def restored_sweeps(folder: Path, eight: Together, fewer: dict, expected: tuple) -> dict:
    """A sweep in flight on eight devices, with three places to fill them up, taken elsewhere."""
    state, standing = eight.go_on(*eight.trainer.start(eight.trials), 1)
    checkpoints.save(folder, state, 1)
    held = host_copy(state)
    results = {}
    for name, other in fewer.items():
        like = other.trainer.like(standing)
        read = checkpoints.read(checkpoints.latest(folder)).restore(like)
        same = same_bits(read, held)
        adopted, there = other.trainer.adopt(read, standing)
        end = other.end(*other.go_on(adopted, there, EPOCHS))
        results[name] = {
            "same bits": same,
            "places": len(there.places),
            "difference": difference(end, expected),
        }
    return results


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("runs", "sweeps"):
            (Path(folder) / name).mkdir()
        runs, restored_runs = lone_runs(Path(folder) / "runs")
        together, restored_sweeps = sweeps(Path(folder) / "sweeps")
    results = {
        "devices": jax.device_count(),
        "runs": runs,
        "restored runs": restored_runs,
        "sweeps": together,
        "restored sweeps": restored_sweeps,
    }
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()

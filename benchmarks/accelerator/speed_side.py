"""Training steps of one network in every form, in a process of its own; see `worker`."""

import argparse
import itertools
import json
from collections.abc import Callable
from typing import Any

from benchmarks.accelerator.networks import TIMED
from benchmarks.accelerator.worker import serve
from benchmarks.contenders import our_epoch
from cnn_jax.ops import lowering_on_accelerators


def main() -> None:
    """Serves what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="in a call")
    parser.add_argument("--forms", required=True, help="precisions, lowerings and options, as JSON")
    arguments = parser.parse_args()
    serve(lambda: _prepare(arguments))


def _prepare(arguments: argparse.Namespace) -> tuple[dict[str, Any], Callable[..., None]]:
    network = TIMED[arguments.network]._replace(epoch_steps=arguments.steps)
    built = {}
    for precision, lowering, options in itertools.product(*json.loads(arguments.forms)):
        with lowering_on_accelerators(lowering):
            built[json.dumps([precision, lowering, options])] = our_epoch(
                network, arguments.batch_size, precision=precision, options=options
            )
    seconds = {form: contender.compile_seconds for form, contender in built.items()}
    (parameters,) = {contender.parameters for contender in built.values()}
    found = {"parameters": parameters, "compile_seconds": seconds, "steps": arguments.steps}
    return found, lambda form, calls: built[form].advance(calls)


if __name__ == "__main__":
    main()

"""The flags that say on which devices a program computes: they change how fast, not what.

So a run directory does not keep them: a run goes on wherever it is resumed, on the devices there.
"""

import jax
import jaxlib
from absl import flags, logging

from cnn_jax import compilation
from cnn_jax.errors import UsageError
from cnn_jax.memory import check_addresses
from cnn_jax.training.devices import BATCH_AXIS, MeshShape, best_shape

FLAGS = flags.FLAGS
ALL = "all"

flags.DEFINE_string(
    "devices",
    ALL,
    "How many devices, or all. train splits each batch over them; ablate the trials, and batches "
    "too where trials are fewer than devices.",
)
flags.DEFINE_string(
    "mesh",
    None,
    "What the devices split, instead of what is chosen by itself: trial:4,batch:2 for four groups "
    "of trials, each batch of which two devices share.",
)
flags.DEFINE_bool(
    "shard_data",
    False,
    "Give each device that shares batches its part of the data set only, rather than all of it: "
    "for sets that are larger than a device's memory. Every step then gathers its examples from "
    "all of them.",
)
flags.DEFINE_bool(
    "unsafe",
    False,
    "Train with a compiler that was found to compute wrong numbers, too. Which ones are tested is "
    "in cnn_jax/compilation.py; others are tried when training starts.",
)


def check_compiler() -> None:
    """Refuses a compiler that computes wrong numbers, or says so where it is wanted all the same.

    Raises:
        UsageError: if it does and --unsafe was not given, or if it cannot compile in the memory
            that this process may have.
    """
    check_addresses()
    wrong = compilation.untrusted()
    if not wrong:
        return
    text = (
        f"jaxlib {jaxlib.__version__} computes wrong numbers on this CPU ({'; '.join(wrong)}); "
        f"{' or '.join(compilation.TESTED)} is right"
    )
    if not FLAGS.unsafe:
        raise UsageError(f"{text}; install one of them, or train all the same with --unsafe")
    logging.warning("%s", text)


def read_devices() -> int:
    """How many devices there are to use.

    Raises:
        UsageError: if --devices is no number of them.
    """
    here, text = jax.devices(), FLAGS.devices.strip()
    if text == ALL:
        return len(here)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--devices must be {ALL} or a positive integer, got {text!r}")
    if int(text) > len(here):
        raise UsageError(
            f"--devices={text}: there {'is' if len(here) == 1 else 'are'} {len(here)} "
            f"({here[0].platform}); give at most {len(here)}"
        )
    return int(text)


def read_mesh() -> MeshShape | None:
    """What --mesh asks for, or None where it is left to be chosen.

    Raises:
        UsageError: if it cannot be read, or does not multiply to the devices that there are.
    """
    devices = read_devices()
    if FLAGS.mesh is None:
        return None
    counts: dict[str, int] = {}
    for part in FLAGS.mesh.split(","):
        axis, _, count = (word.strip() for word in part.partition(":"))
        if axis not in MeshShape._fields:
            raise UsageError(
                f"--mesh={FLAGS.mesh}: {axis!r} is not an axis; give trial:4,batch:2 or one of them"
            )
        if axis in counts:
            raise UsageError(f"--mesh={FLAGS.mesh} gives {axis} twice; give it once")
        if not count.isdecimal() or int(count) < 1:
            raise UsageError(
                f"--mesh={FLAGS.mesh}: {axis} needs a positive number of devices after a colon, as "
                f"in {axis}:4, got {count!r}"
            )
        counts[axis] = int(count)
    shape = MeshShape(**counts)
    asked = FLAGS["devices"].present
    if shape.size > devices or (asked and shape.size != devices):
        raise UsageError(
            f"--mesh={FLAGS.mesh} is of {shape.size} devices, but "
            + (f"--devices={FLAGS.devices} is {devices}" if asked else f"there are {devices}")
            + "; give numbers whose product that is"
        )
    if FLAGS.shard_data and shape.batch == 1:
        raise UsageError(
            f"--shard_data splits the data set over the axis {BATCH_AXIS}, which "
            f"--mesh={FLAGS.mesh} does not have; give {BATCH_AXIS}:N in it too"
        )
    return shape


def shape_for_run(together: int) -> MeshShape:
    """The devices that share the batches of one run: those asked for, or as many as divide them.

    Args:
        together: the examples that a step computes at the same time.

    Raises:
        UsageError: if what is asked for is not there, or is of trials.
    """
    forced, devices = read_mesh(), read_devices()
    if forced is None:
        asked = FLAGS["devices"].present
        return MeshShape(batch=devices) if asked else best_shape(devices, 1, together)
    if forced.trial > 1:
        raise UsageError(
            f"--mesh={FLAGS.mesh}: this program trains one network and has no trials to split; "
            f"give {BATCH_AXIS}:{forced.size}"
        )
    return forced


def shape_for_trials(trials: int, together: int) -> MeshShape:
    """The devices that share trials, and batches where trials are fewer than devices.

    Args:
        trials: that train in one program.
        together: the examples that a step of each computes at the same time.

    Raises:
        UsageError: if what is asked for is not there.
    """
    forced, devices = read_mesh(), read_devices()
    return best_shape(devices, trials, together) if forced is None else forced


def describe_shape(shape: MeshShape, trials: int = 1) -> str:
    """Which devices share what, and what of them is idle; empty where there is one only."""
    here = jax.device_count()
    if here == 1 and not FLAGS.shard_data:
        return ""
    text = f"{shape.size} of {here} devices" + (f" ({shape})" if shape.size > 1 else "")
    filling = -trials % shape.trial
    if filling:
        text += f", {filling} of {trials + filling} places idle"
    if FLAGS.shard_data:
        apart = shape.batch > 1
        text += f", the data set {f'in {shape.batch} parts' if apart else 'whole on each'}"
    return text

"""Programs: how one is compiled, what it needs, as XLA itself counts it, and what there is."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from cnn_jax import native
from cnn_jax.compilation import EIGEN, ONEDNN, SAFE, CompilerOptions, jit
from cnn_jax.memory import machine_bytes
from cnn_jax.ops import Lowering
from cnn_jax.ops._direct import KERNEL_GRADIENT, MAPS
from cnn_jax.ops._products import Taps
from cnn_jax.training.config import Config
from cnn_jax.training.processes import least

# Up to this many filters convolutions are products by Eigen; direct or by oneDNN where there are
# more.
_NARROW = 16
# What XLA lets oneDNN apply to a convolution's result though others read it too, which a gradient
# does: they get the activation's values for its inputs. Of other activations it counts the readers.
_MISFUSED = re.compile(r'"ops":\[[^\]]*"(?:SWISH|ELU|GELU_TANH|GELU_ERF)"')

# The share of a device's memory that a program may fill; the rest is for the runtime.
_MEMORY_SHARE = 0.8
_MEBIBYTE = 2**20


def compile_epoch(
    epoch: Callable,
    state: PyTree,
    *arguments: Any,
    donate: bool = True,
    wanted: CompilerOptions | None = None,
) -> jax.stages.Compiled:
    """Compiles `epoch(state, *arguments)`; its results lie on the devices as the state does.

    On one CPU the convolutions of a wide network in float32 are direct ones, where they can be
    built (`cnn_jax.native`).

    Args:
        epoch: of a run or of a sweep, or the evaluation after it.
        state: holds the parameters; arrays, or their shapes, types and places.
        *arguments: likewise.
        donate: whether the program takes the memory of `state` for its results.
        wanted: options on CPU; those that are fast for the network's width if not given. SAFE where
            XLA makes a wrong program for oneDNN: of convolutions that are not `ops.conv2d`'s.
    """
    where = jax.tree.leaves(state)[0].sharding

    def lowered(wanted: CompilerOptions, lowering: Lowering | None) -> jax.stages.Lowered:
        donated = (0,) if donate else ()
        program = jit(
            epoch, wanted=wanted, lowering=lowering, donate_argnums=donated, out_shardings=where
        )
        return program.lower(state, *arguments)

    if _widest_convolution(state) <= _NARROW:
        return lowered(wanted or EIGEN, None).compile()
    if len(where.device_set) == 1 and native.load():
        program = lowered(wanted or SAFE, "direct")
        if MAPS in program.as_text():
            return program.compile()
    wanted = wanted or ONEDNN
    compiled = lowered(wanted, None).compile()
    if wanted is ONEDNN and _MISFUSED.search(compiled.as_text() or ""):
        return lowered(SAFE, None).compile()
    return compiled


def _widest_convolution(state: PyTree) -> int:
    """The filters of the widest convolution; its kernel is `h w c f`, behind an axis of trials."""
    shapes = (leaf.shape for leaf in jax.tree.leaves(state))
    return max((shape[-1] for shape in shapes if len(shape) >= 4), default=0)


_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
)
# `%name (arguments) -> type {` begins a computation, `  %name = type operation(operands), ...` is
# an instruction in it. Of an asynchronous pair the second half has the result's type.
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(_COLLECTIVES)})(?:-done)?\(")
_TYPE = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.-]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_ONEDNN_CALL = re.compile(
    r'= \(?\w+\[(?P<shape>[\d,]+)\].* custom_call_target="__onednn\$convolution",'
    r".* backend_config=(?P<config>\{.*\})$",
    re.MULTILINE,
)
_DIRECT_CALL = re.compile(
    rf'custom_call_target="(?:{MAPS}|{KERNEL_GRADIENT})", '
    r"operand_layout_constraints=\{f32\[(?P<images>[\d,]+)\]\{[\d,]+\}, f32\[(?P<other>[\d,]+)\].*"
    r"taps = dense<\[(?P<taps>[\d, ]+)\]>"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Cost(NamedTuple):
    """What one call of a compiled program needs on each device; 0 where the backend cannot tell.

    Attributes:
        flops: floating-point operations. XLA counts the body of a loop once, however often it runs.
        accessed_bytes: that all operations read and write, counted likewise.
        argument_bytes: of the inputs.
        output_bytes: of the results.
        temporary_bytes: of all that lives in between: activations, gradients, scratch.
        aliased_bytes: of results that take the memory of donated inputs.
    """

    flops: float
    accessed_bytes: float
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    aliased_bytes: int

    @property
    def device_bytes(self) -> int:
        """Bytes that the program occupies on each device while it runs."""
        return self.argument_bytes + self.output_bytes + self.temporary_bytes - self.aliased_bytes


def _onednn_flops(call: re.Match[str]) -> int:
    """Operations of a convolution by oneDNN, which XLA does not count: taps on pixels, times 2."""
    config = json.loads(call["config"])["onednn_conv_config"]
    window, kernel = config["window"], config["kernel"]["filter"]
    examples, *sizes, _ = map(int, call["shape"].split(","))
    *spans, channels, filters = map(int, kernel["shape"])
    pairs = examples * channels * filters
    for axis, (outputs, kernel_size) in enumerate(zip(sizes, spans, strict=True)):
        low, high, stride, dilation = (
            int(window[key][axis])
            for key in ("pad_left", "pad_right", "strides", "window_dilations")
        )
        inputs = (outputs - 1) * stride + (kernel_size - 1) * dilation + 1 - low - high
        pairs *= _taps_on_pixels(Taps(kernel_size, stride, dilation, low, inputs, outputs))
    return 2 * pairs


def _direct_flops(call: re.Match[str]) -> int:
    """Likewise of a call of `cnn_jax.native`; both gradients have as many as the maps."""
    images, other = (tuple(map(int, call[key].split(","))) for key in ("images", "other"))
    numbers = list(map(int, call["taps"].split(",")))
    pairs = images[0] * images[3] * other[3]
    for kernel, stride, low, inputs, outputs in (numbers[:5], numbers[5:]):
        pairs *= _taps_on_pixels(Taps(kernel, stride, 1, low, inputs, outputs))
    return 2 * pairs


def _taps_on_pixels(taps: Taps) -> int:
    """How often a window along an axis reads a pixel, and no padding."""
    places = (
        output * taps.stride + tap * taps.dilation - taps.low
        for output in range(taps.outputs)
        for tap in range(taps.kernel)
    )
    return sum(0 <= place < taps.inputs for place in places)


class Collective(NamedTuple):
    """An exchange between devices.

    Attributes:
        kind: XLA's name of it, as in "all-reduce".
        bytes: of its result on one device; of an all-reduce that is the size of what is summed.
        times: how often one call of the program does it.
    """

    kind: str
    bytes: int
    times: int


def program_cost(program: jax.stages.Compiled) -> Cost:
    """Reads XLA's cost and memory analysis of a compiled program."""
    analysis = program.cost_analysis() or {}
    memory = program.memory_analysis()
    flops = max(0.0, float(analysis.get("flops", 0.0)))
    text = program.as_text() or ""
    flops += sum(map(_onednn_flops, _ONEDNN_CALL.finditer(text)))
    flops += sum(map(_direct_flops, _DIRECT_CALL.finditer(text)))
    counted = flops, float(analysis.get("bytes accessed", 0.0))
    if memory is None:
        return Cost(*counted, 0, 0, 0, 0)
    return Cost(
        *counted,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.alias_size_in_bytes,
    )


def memory_limit() -> int:
    """Bytes that a program may use on each device: of the device, or of the machine's memory.

    Of several processes, what the one with the least has.
    """
    return least(int(_MEMORY_SHARE * device_bytes()) // _MEBIBYTE) * _MEBIBYTE


def device_bytes() -> int:
    """Bytes of a device's memory, which on CPU is the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or machine_bytes()


def collectives(text: str | None) -> list[Collective]:
    """The exchanges in the text of a compiled program (`Compiled.as_text()`), none without one.

    What is inside a loop counts as often as XLA knows the loop to run, once where it does not know.
    """
    entry, computations = _computations(text or "")
    return list(_exchanges(entry, computations, 1)) if entry else []


def collective_bytes(text: str | None, steps: int = 1) -> float:
    """Bytes that one device gives into exchanges, per step of a program of `steps` steps."""
    return sum(item.bytes * item.times for item in collectives(text)) / steps


def one_step(config: Config) -> tuple[Config, int]:
    """A config whose epoch over that many examples is a single step, in one piece, at full size.

    The program of such an epoch has no loop, so XLA counts all its operations, and it can be timed.
    Of a config with micro-batches (full-batch gradient descent has them too) it is one micro-batch
    with an update.
    """
    size = config.batch_size // config.micro_batches
    return replace(config, batch_size=size, micro_batches=1, resolutions=()), size


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """The name of the entry, and the instructions of every computation by name."""
    entry, current = "", list[str]()
    computations: dict[str, list[str]] = {}
    for line in text.splitlines():
        begins = _COMPUTATION.match(line)
        if begins:
            current = computations.setdefault(begins[2], [])
            entry = begins[2] if begins[1] else entry
        elif line.startswith(" "):
            current.append(line)
    return entry, computations


def _exchanges(name: str, computations: dict[str, list[str]], times: int) -> Iterator[Collective]:
    for line in computations.get(name, ()):
        found = _COLLECTIVE.search(line)
        if found:
            yield Collective(found[2], _bytes(found[1]), times)
        trips = _TRIPS.search(line)
        inside = times * int(trips[1]) if trips else times
        for one, several in _CALLED.findall(line):
            for called in (one, *re.findall(r"[\w.-]+", several)):
                yield from _exchanges(called, computations, inside)


def _bytes(types: str) -> int:
    """Of an array type, `f32[3,4]{1,0}`, or of a tuple of them."""
    return sum(
        math.prod(map(int, filter(None, dimensions.split(",")))) * int(bits or 8) // 8
        for _, bits, dimensions in _TYPE.findall(types)
    )

"""Where the time of a compiled program goes: a trace of `jax.profiler`, read with the HLO.

XLA runs independent operations at the same time, and an operation may go on after the call that
started it has returned. So every moment is shared equally by the operations in flight, and the
times of all of them add up to the time in which anything ran.
"""

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
from rich.console import Console
from rich.table import Table

from cnn_jax.ops._direct import KERNEL_GRADIENT as KERNEL_GRADIENT_CALL
from cnn_jax.ops._direct import MAPS

FORWARD = "product, forward"
INPUT_GRADIENT = "product, input gradient"
KERNEL_GRADIENT = "product, kernel gradient"
TAPS = "taps, gather and scatter"
REDUCTION = "reduction"
ELEMENTWISE = "elementwise and copy"

LEGEND = (
    "product: of convolutions and dense layers; taps: convolutions' moves between maps and "
    "matrices, with what is fused into them; wall time."
)

# What a call of oneDNN begins with; the event of an operation ends in its target.
_ONEDNN = "__onednn$"
_CONTAINERS = frozenset({"while", "call", "conditional"})
# The marker of an end is written this soon after the work that the end set free, in nanoseconds.
_SOON = 50_000


class Operation(NamedTuple):
    """An instruction of the program: its kind, its shape, and the JAX primitive it is named by."""

    kind: str
    shape: str
    primitive: str


class Event(NamedTuple):
    """Something that a thread did; times in nanoseconds."""

    name: str
    thread: str
    start: float
    end: float
    is_operation: bool


def profile(program: jax.stages.Compiled, run: Callable[[], None], steps: int) -> dict[str, float]:
    """The milliseconds per step that each operation of a program took.

    Args:
        program: compiled.
        run: runs the program, warm, and waits for it.
        steps: training steps in that.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        events = _read(path)
    codes = _opcodes(program.as_text() or "")
    containers = {name for name, code in codes.items() if code in _CONTAINERS}
    shares = share_time(name_spans(events, containers))
    return {name: nanoseconds / 1e6 / steps for name, nanoseconds in shares.items()}


def print_profile(
    console: Console, title: str, program: jax.stages.Compiled, times: dict[str, float]
) -> None:
    """Prints the ten most expensive operations, and the time of each kind."""
    operations = classify(program.as_text() or "")
    unknown = Operation("other", "", "")
    total = sum(times.values())
    table = Table(title=f"{title}: the ten most expensive operations", title_justify="left")
    for column in ("operation", "kind", "primitive", "result"):
        table.add_column(column, no_wrap=True)
    for column in ("ms/step", "share"):
        table.add_column(column, justify="right")
    kinds: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    named = {name: operations.get(name.partition(_ONEDNN)[0], unknown) for name in times}
    for name, time in times.items():
        kinds[named[name].kind] += time
        counts[named[name].kind] += 1
    for name, time in _largest_first(times)[:10]:
        kind, shape, primitive = named[name]
        table.add_row(name, kind, primitive, shape, f"{time:.2f}", f"{time / total:.1%}")
    console.print(table)

    table = Table(title=f"{title}: by kind", title_justify="left")
    table.add_column("kind", no_wrap=True)
    for column in ("operations", "ms/step", "share"):
        table.add_column(column, justify="right")
    for kind, time in _largest_first(kinds):
        table.add_row(kind, str(counts[kind]), f"{time:.2f}", f"{time / total:.1%}")
    table.add_row("all", str(len(times)), f"{total:.2f}", "100.0%")
    console.print(table)
    console.print(LEGEND)


def _largest_first(times: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(times.items(), key=lambda item: -item[1])


def classify(hlo: str) -> dict[str, Operation]:
    """The kind of every instruction of a program, by what it is made of."""
    computations: dict[str, list[str]] = defaultdict(list)
    body: list[str] = []
    for line in hlo.splitlines():
        if opening := re.match(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$", line):
            body = computations[opening[1]]
        elif re.match(r"\s+(?:ROOT )?%[\w.\-]+ = ", line):
            body.append(line)
    operations = {}
    for lines in computations.values():
        for line in lines:
            name, _, rest = line.strip().removeprefix("ROOT ").partition(" = ")
            fused = re.search(r" fusion\(.*calls=%([\w.\-]+)", line)
            parts = computations[fused[1]] if fused else [line]
            shape = rest.split("{")[0]
            primitive = _path(line).rsplit("/", 1)[-1]
            operations[name.removeprefix("%")] = Operation(_kind(parts), shape, primitive)
    return operations


def _kind(lines: list[str]) -> str:
    codes = {_opcode(line) for line in lines}
    for line in lines:
        if f'custom_call_target="{KERNEL_GRADIENT_CALL}"' in line:
            return KERNEL_GRADIENT
        if f'custom_call_target="{MAPS}"' in line:
            return INPUT_GRADIENT if "transpose(" in _path(line) else FORWARD
        if f'custom_call_target="{_ONEDNN}' in line:
            if "transpose(" not in _path(line):
                return FORWARD
            return KERNEL_GRADIENT if f"{_ONEDNN}matmul" in line else INPUT_GRADIENT
        if _opcode(line) == "dot":
            if "transpose(" not in _path(line):
                return FORWARD
            over_batch = "lhs_contracting_dims={0}, rhs_contracting_dims={0}" in line
            return KERNEL_GRADIENT if over_batch else INPUT_GRADIENT
    # A convolution's form for a platform is a branch of `lax.platform_dependent`.
    if any("/cond/branch_" in _path(line) for line in lines):
        return TAPS
    if codes & {"reduce", "reduce-window"}:
        return REDUCTION
    if codes & {"sort", "scatter", "custom-call", "convolution"}:
        return "other"
    return ELEMENTWISE


def _path(line: str) -> str:
    """The scopes and the primitive of JAX that an instruction comes from."""
    found = re.search(r'op_name="([^"]*)"', line)
    return found[1] if found else ""


def _opcode(line: str) -> str:
    found = re.search(r" ([a-z][a-z0-9\-]*)\(", line)
    return found[1] if found else ""


def _opcodes(hlo: str) -> dict[str, str]:
    return {
        found[1]: _opcode(line)
        for line in hlo.splitlines()
        if (found := re.match(r"\s+(?:ROOT )?%([\w.\-]+) = ", line))
    }


def _read(path: Path) -> list[Event]:
    return [
        Event(
            event.name,
            f"{plane.name}/{line.name}",
            event.start_ns,
            event.start_ns + event.duration_ns,
            any(key == "hlo_op" for key, _ in event.stats),
        )
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes
        for line in plane.lines
        for event in line.events
    ]


def name_spans(
    events: Iterable[Event], containers: Iterable[str] = ()
) -> list[tuple[str, float, float]]:
    """When each operation was in flight: its name, start and end.

    On CPU the event of an operation ends when it has been handed to the threads. A marker
    "end: name" follows its real end, but the thread that writes it first runs what had waited for
    the operation; so the real end is where that run started.

    Args:
        events: in any order.
        containers: operations that only hold others, to be left out.
    """
    starts, markers = defaultdict(list), defaultdict(list)
    runs = defaultdict(list)
    for event in sorted(events, key=lambda event: event.start):
        if event.is_operation:
            starts[event.name].append(event)
        elif event.name.startswith("end: "):
            markers[event.name.removeprefix("end: ")].append(event)
        elif event.name == "ThunkExecutor::Execute":
            runs[event.thread].append(event)
    spans = []
    for name in starts.keys() - set(containers):
        marked = markers[name] if len(markers[name]) == len(starts[name]) else starts[name]
        for event, marker in zip(starts[name], marked, strict=True):
            end = min(
                (
                    run.start
                    for run in runs[marker.thread]
                    if event.start <= run.start and 0 <= marker.start - run.end < _SOON
                ),
                default=marker.start,
            )
            spans.append((name, event.start, max(event.end, end)))
    return spans


def share_time(spans: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """The time of each name, every moment shared equally by the spans that it falls in."""
    changes = sorted(
        change for name, start, end in spans for change in ((start, 1, name), (end, -1, name))
    )
    shares: dict[str, float] = defaultdict(float)
    running: Counter[str] = Counter()
    before = 0.0
    for moment, change, name in changes:
        live = running.total()
        for other, times in running.items():
            shares[other] += (moment - before) * times / live if times else 0.0
        running[name] += change
        if not running[name]:
            del running[name]
        before = moment
    return shares

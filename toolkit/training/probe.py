"""How many tokens to put into one forward pass: measured with the run's own rows, model and trainer.

It runs in a process of its own, whose weights nobody keeps, and leaves the choice in the run's plan.json. On a
processor the sizes grow, since large ones take minutes and caches favour small ones. On a GPU they shrink: layers are
compiled at the first size, and what was compiled for a short pass was slow in a long one (docs/planning.md).
"""

from __future__ import annotations

import itertools
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

import torch

from rewards.core import UserError
from toolkit.config import SftConfig
from toolkit.doctor.sizes import Size, size_of_directory
from toolkit.models import resolve_model
from toolkit.planning.fits import mean_pass, room
from toolkit.planning.machine import Device, device
from toolkit.planning.memory import GB, MOST_TOKENS, Way, sft_memory
from toolkit.planning.store import Chosen, choose, lowered
from toolkit.rundir import Run
from toolkit.templates import use_template
from toolkit.training.backends import training_backend
from toolkit.training.rows import IGNORED, lengths_of

PASSES, MOST_PASSES, ENOUGH = 3, 12, 2.0  # timed of each size, after one that isn't: at least; at most, and seconds
FIRST = 4  # passes before the clock starts: layers are compiled at the first, and again for the lengths of the next
SECONDS = 60.0  # that all sizes may take; what wouldn't end by then isn't begun
SLOWER = 0.8  # of the best rate: further sizes won't catch up
AS_GOOD = 0.97  # of the best rate: the smallest such pass is taken, since it leaves memory
MEMORY = 0.9  # of a card that the passes may take
Ended = Literal["all", "slower", "memory", "time"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A size of forward pass. tokens: of one pass, on average. peak: GB that the process took at most."""

    sequences: int
    tokens: int
    tokens_per_second: float
    peak: float


def run_probe(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Measure passes of several sizes, choose one, keep it in plan.json, and give what was measured."""
    config = run.recipe.sft
    if config is None:
        raise UserError("the recipe has no section sft: there is nothing to probe")
    trainer, rows, weights = _loaded(run, config, terminal)
    lengths, here = lengths_of(rows), device()
    downward = here.kind == "gpu"
    most = config.forward_tokens or lowered(run.dir, "sft", here.name)
    sizes = _sizes(run, config, size_of_directory(weights), lengths, here, most)

    def tell(each: Measured) -> None:
        line = f"{each.tokens_per_second:,.0f} tokens/s, {each.peak:.1f} GB at most"
        print(f"probe: {each.sequences} sequences, {each.tokens} tokens a pass: {line}", file=terminal, flush=True)

    found, ended = measure(trainer, rows, sizes[::-1] if downward else sizes, tell)
    best = choice(found, MEMORY * here.total / GB)
    details = {
        "tokens_per_second": best.tokens_per_second,
        "peak_gb": best.peak,
        "measured": [asdict(n) for n in found],
    }
    fastest = f"{best.sequences} sequences a pass gave {best.tokens_per_second:,.0f} tokens/s"
    larger_are_open = ended == "time" and not downward and best is found[-1]  # too slow a machine to find out
    if larger_are_open:
        used = replace(trainer.budget, why=f"{trainer.budget.why}; {fastest}, and time was out", details=details)
    else:
        value = math.ceil(mean_pass(best.sequences, lengths))
        fewer = next((n for n in reversed(sizes) if n <= best.sequences // 2), None)
        smaller = fewer and math.ceil(mean_pass(fewer, lengths))
        why = f"{fastest}, the best of {len(found)} sizes"
        used = Chosen(value, "probe", why, here.name, smaller, details)
    if most is None:
        choose(run.dir, "sft", used)
    return {"forward_tokens": most or used.value, **details}


def _loaded(run: Run, config: SftConfig, terminal: TextIO) -> tuple[Any, Any, Path]:
    """The run's trainer, its rows, and the directory of the base model's weights."""
    from toolkit.conversations.preparing import tokenizer_for
    from toolkit.training import sft

    recipe = run.recipe
    resolved = resolve_model(recipe.model.reference)
    backend = training_backend(recipe.model.backend)
    plain = tokenizer_for(resolved.adapter or resolved.path, recipe.model.chat_template)
    rows, _, _ = sft.training_rows(run, config, plain, resolved)
    model, tokenizer = backend.load(recipe.model, resolved, recipe.lora, recipe.seed)
    use_template(tokenizer, recipe.model.chat_template)
    return sft.make_trainer(run, config, model, tokenizer, rows, None, terminal), rows, resolved.path


def _sizes(
    run: Run, config: SftConfig, size: Size | None, lengths: Sequence[int], here: Device, most: int | None
) -> list[int]:
    """Sequences in a pass, growing: the smallest, and those of the rest that fit. most: tokens; then it is one size."""
    sizes = list(sizes_of(config.batch_size // run.recipe.launch.processes))
    if most is not None:
        sizes = [n for n in sizes if mean_pass(n, lengths) <= most][-1:] or [1]

    def fits(sequences: int) -> bool:
        tokens = mean_pass(sequences, lengths)
        if here.kind == "gpu" and tokens > MOST_TOKENS:
            return False
        recipe = run.recipe
        return size is None or sum(sft_memory(recipe, size, tokens, Way(here.kind)).values()) <= room(recipe, here)

    return [sizes[0], *filter(fits, sizes[1:])]


def sizes_of(batch: int) -> Iterator[int]:
    """Sequences in a pass, growing: divisors of the batch, each at least twice the one before."""
    last = 0
    for n in (n for n in range(1, batch + 1) if batch % n == 0):
        if n >= 2 * last:
            last = n
            yield n


def choice(found: Sequence[Measured], memory: float) -> Measured:
    """The smallest size that is about as fast as the fastest one within the memory, in GB."""
    ascending = sorted(found, key=lambda each: each.sequences)
    within = [each for each in ascending if each.peak <= memory] or ascending[:1]
    best = max(each.tokens_per_second for each in within)
    return next(each for each in within if each.tokens_per_second >= AS_GOOD * best)


def measure(
    trainer: Any, rows: Any, sizes: Sequence[int], tell: Callable[[Measured], None]
) -> tuple[list[Measured], Ended]:
    """Train on real rows in passes of each size, in the order given: what was measured, and what ended it.

    Raises UserError when the smallest size is too large already.
    """
    trainer.create_optimizer()
    model, optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.current_gradient_accumulation_steps = 1
    places = itertools.cycle(range(len(rows)))
    started, expected, found = time.perf_counter(), 0.0, list[Measured]()
    for place, sequences in enumerate(sizes):
        if found and time.perf_counter() - started + expected > SECONDS:
            return found, "time"
        _forget_peak()
        try:
            for _ in range(1 if found else FIRST):
                _pass(trainer, model, rows, places, sequences)
            if not found:
                optimizer.step()  # from here on Adam's moments are held, as in training
                started = time.perf_counter()
            passes = list(_timed(partial(_pass, trainer, model, rows, places, sequences)))
        except torch.OutOfMemoryError as error:
            if any(smaller < sequences for smaller in sizes[place + 1 :]):
                optimizer.zero_grad()
                continue
            if not found:
                raise UserError("sft: out of memory with a single sequence in a forward pass") from error
            return found, "memory"
        # The fastest pass: what a first time costs (kernels for a new length, memory from the driver) only ever adds.
        rate = max(tokens / seconds for tokens, seconds in passes)
        mean = sum(tokens for tokens, _ in passes) / len(passes)
        best = max((each.tokens_per_second for each in found), default=0.0)
        found.append(Measured(sequences, round(mean), round(rate, 1), round(_peak(), 2)))
        tell(found[-1])
        if rate < SLOWER * best:
            return found, "slower"
        expected = 2 * (PASSES + 1) * mean / rate
    return found, "all"


def _timed(one: Callable[[], int]) -> Iterator[tuple[int, float]]:
    """Tokens and seconds of each pass: PASSES, and while that took less than ENOUGH seconds up to MOST_PASSES."""
    started = began = time.perf_counter()
    for number in range(MOST_PASSES):
        if number >= PASSES and began - started > ENOUGH:
            return
        tokens, ended = one(), time.perf_counter()
        yield tokens, ended - began
        began = ended


def _pass(trainer: Any, model: Any, rows: Any, places: Iterator[int], sequences: int) -> int:
    """One forward and backward pass; gives its tokens, padding left out."""
    taken = [rows[place] for place in itertools.islice(places, sequences)]
    inputs = trainer.data_collator(taken)
    trainer.training_step(model, inputs, (inputs["labels"] != IGNORED).sum())
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return sum(len(row["input_ids"]) for row in taken)


def _forget_peak() -> None:
    """On a card, what a larger size took doesn't count for the next; a process's RAM can't be counted anew."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> float:
    """GB that this process has taken at most: of the card, or of the RAM."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_reserved() / GB)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB

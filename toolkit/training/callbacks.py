"""What training shows and keeps: a live line in the terminal, and every log entry as one line of JSON."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

from eval.progress import quiet

SHOWN = {"loss": "loss", "eval_loss": "eval loss", "reward": "reward", "frac_reward_zero_std": "dead groups"}


class JsonlLog(TrainerCallback):
    """Appends each log entry of the trainer to a file, flushed at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called by the trainer; values that JSON can't hold (NaN, infinity) become text."""
        entry: dict[str, Any] = {"step": state.global_step, "time": round(time.time(), 3)}
        for key, value in (logs or {}).items():
            finite = not isinstance(value, float) or math.isfinite(value)
            entry[key] = value if finite else str(value)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, default=str) + "\n")


class LiveProgress(TrainerCallback):
    """One line on the terminal: steps, newest figures, time left. Not a terminal: a plain line now and then."""

    def __init__(self, title: str, terminal: TextIO, plain_every: float = 30.0) -> None:
        self.title, self.terminal, self.plain_every = title, terminal, plain_every
        self.last_plain = -math.inf
        self.figures = ""
        self.began, self.first_step = 0.0, 0
        self.bar: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the line, at the step where a resumed run begins."""
        self.began, self.first_step = time.monotonic(), state.global_step
        if quiet() or not self.terminal.isatty():
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=self.terminal),
        )
        self.bar.add_task(self.title, total=state.max_steps, completed=state.global_step, figures="", pace="")
        self.bar.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Remember the newest figures."""
        found = [f"{SHOWN[key]} {float(value):.3g}" for key, value in (logs or {}).items() if key in SHOWN]
        self.figures = "  ".join(found) or self.figures

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move on by a step."""
        step, last = state.global_step, state.max_steps
        if self.bar is not None:
            self.bar.update(
                self.bar.task_ids[0], completed=step, figures=self.figures, pace=f"{self._pace(step):.2g} steps/s"
            )
        elif quiet():
            return
        elif step == last or time.monotonic() - self.last_plain >= self.plain_every:
            self.last_plain = time.monotonic()
            left = f", {(last - step) / self._pace(step):.0f} s left" if step < last else ""
            pace = f"{self._pace(step):.2g} steps/s{left}"
            print(f"{self.title}: step {step}/{last}  {self.figures}  {pace}", file=self.terminal, flush=True)

    def _pace(self, step: int) -> float:
        """Steps a second since the training began here."""
        return (step - self.first_step) / max(time.monotonic() - self.began, 1e-6)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the line."""
        if self.bar is not None:
            self.bar.stop()

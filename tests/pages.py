"""Run directories without any training, for the tests of the report: a scripted engine answers, logs are made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from eval.compare import compare
from eval.engines.base import Sampling
from eval.files import write_json
from rewards.core import Example
from rewards.response import parse, render
from tasks.base import Task
from tasks.datetime_extraction import PLAIN
from tests.scripted import evaluate_script
from toolkit.data import write_examples

HOSTILE = "</pre></script><script>window.owned = true</script><img src=x onerror='window.owned = true'> & <!-- \u2028"
RECIPE = {
    "task": "echo",
    "model": {"reference": "package:some_model"},
    "data": {"sft": 8, "grpo": 8, "validation": 4, "test": 60},
    "sft": {"learning_rate": 0.001},
    "grpo": {"steps": 4},
}
Answer = Callable[[int], str]


def exact(completion: str, example: Example) -> float:
    """The metric: the answer is the gold."""
    return float(parse(completion).answer in example.answers)


TASK = Task("echo", "1", lambda split, n, seed: iter(()), {"exact": (exact, 1.0)}, exact)


def example(i: int) -> Example:
    """Example i: two languages, five kinds, one of them with a name that wants to be markup."""
    return Example(
        id=f"test-{i}",
        messages=({"role": "system", "content": "Sag's"}, {"role": "user", "content": f"what is {i}? {HOSTILE}"}),
        answers=(str(i),),
        tags={"lang": "ru" if i % 2 else "en", "kind": f"<b>{i % 5}</b>"},
        group=f"g{i % 20}",
    )


def right(i: int) -> str:
    """The gold in the right form."""
    return render(f"это {i}", str(i))


def wrong(i: int) -> str:
    """No answer at all, and an attack on the page."""
    return f"{HOSTILE} {i}"


def write_evaluation(directory: Path, answer: Answer, *, n: int = 60, samples: int = 1, seed: int = 0) -> Path:
    """Evaluate a model that says answer(i) to example i; what is longer than 40 words is cut."""
    examples = [example(i) for i in range(n)]
    directory.mkdir(parents=True, exist_ok=True)
    sampling = Sampling(max_tokens=40, temperature=0.0 if samples == 1 else 1.0, n=samples, seed=seed)
    evaluate_script(directory, TASK, examples, [answer(i) for i in range(n)], sampling, seed=seed)
    (directory.parent / f"{directory.name}.jsonl").unlink()
    return directory


def write_run(directory: Path, *, n: int = 60, learning_rate: float = 0.001) -> Path:
    """A finished run: base all wrong and half of it cut, SFT right on 2 of 3, tuned right but for each tenth."""
    answers: dict[str, Answer] = {
        "base": lambda i: wrong(i) if i % 2 else "word " * 50,
        "sft": lambda i: right(i) if i % 3 else wrong(i),
        "tuned": lambda i: right(i) if i % 10 else wrong(i),
    }
    for name, answer in answers.items():
        write_evaluation(directory / "eval" / name, answer, n=n)
    compare(directory / "eval" / "base", directory / "eval" / "tuned", out_dir=directory)
    write_examples(directory / "data" / "test.jsonl", map(example, range(n)))
    recipe = {**RECIPE, "output": str(directory), "sft": {"learning_rate": learning_rate}}
    (directory / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    write_json(directory / "manifest.json", {"git_commit": "c0ffee", "versions": {"torch": "2.14.1"}})
    (directory / "stages").mkdir()
    write_json(directory / "stages" / "sft.json", {"stage": "sft", "seconds": 3.5})
    sft = [{"step": step, "loss": 2.0 / step} for step in range(1, 21)] + [{"step": 20, "eval_loss": 0.08}]
    grpo = [
        {
            "step": step,
            "reward": 0.2 * step,
            "rewards/exact/mean": 0.1 * step,
            "completions/mean_length": 30 + step,
            "completions/clipped_ratio": 0.5,
            "frac_reward_zero_std": 0.25,
        }
        for step in range(1, 5)
    ]
    warning = "warning, step 3: every group is dead <b>\n"
    for stage, rows in (("sft", sft), ("grpo", grpo)):
        (directory / stage).mkdir()
        (directory / stage / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (directory / "grpo" / "watchdog.log").write_text(warning, encoding="utf-8")
    return directory


def write_demo(run: Path) -> None:
    """A run directory as `toolkit run configs/demo.yaml` leaves it, but for the weights: its answers are scripted."""
    write_run(run)
    shutil.rmtree(run / "eval")
    (run / "eval").mkdir()
    examples = list(PLAIN.examples("test", 200, 0))
    write_examples(run / "data" / "test.jsonl", iter(examples))
    for name, wrong in (("base", 1), ("sft", 2), ("tuned", 10)):
        said = [render("so", "none" if i % wrong == 0 else each.answers[0]) for i, each in enumerate(examples)]
        evaluate_script(run / "eval" / name, PLAIN, examples, said, Sampling(max_tokens=112))
    compare(run / "eval" / "base", run / "eval" / "tuned", out_dir=run)
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("task: echo", f"task: {PLAIN.name}"), encoding="utf-8")

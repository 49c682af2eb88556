"""An evaluation of several samples, killed anywhere and run again, ends with the same bytes and the same numbers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.engines.base import ModelSpec, Sampling
from eval.records import RECORDS, read_records
from eval.runner import evaluate
from eval.summary import SUMMARY, Summary, read_summary
from rewards.core import Example, UserError
from rewards.response import parse, render
from tasks.base import Task

ROOT = Path(__file__).resolve().parents[1]
N, SAMPLES = 6, 3
EXAMPLES = [Example(f"e{i}", ({"role": "user", "content": f"{i}?"},), (str(i),)) for i in range(N)]


def exact(completion: str, example: Example) -> float:
    return float(parse(completion).answer in example.answers)


NUMBERS = Task("numbers", "1", lambda split, n, seed: iter(EXAMPLES), {"exact": (exact, 1.0)}, exact)


def run(script: Path, out: Path, task: Task = NUMBERS) -> Summary:
    return evaluate(
        task,
        EXAMPLES,
        split="test",
        seed=0,
        model=ModelSpec(script, None, "m"),
        engine="scripted",
        sampling=Sampling(40, temperature=1.0, n=SAMPLES),
        out_dir=out,
    )


def write_script(path: Path) -> Path:
    """Each example has three different samples: right, wrong, cut."""
    rows = []
    for i in range(N):
        texts = (render("это", str(i)), render("", f"{i}!"), "so " * 50)
        rows += [{"id": f"e{i}", "completion": text} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@given(cut=st.integers(0, 10_000))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_at_any_byte(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    script = write_script(folder / "s.jsonl")
    whole = run(script, folder / "whole")
    run(script, folder / "cut")
    (folder / "cut" / SUMMARY).unlink()
    path = folder / "cut" / RECORDS
    content = path.read_bytes()
    path.write_bytes(content[: cut % (len(content) + 1)])
    resumed = run(script, folder / "cut")
    assert path.read_bytes() == (folder / "whole" / RECORDS).read_bytes()
    assert replace(resumed, completions=0, seconds=0) == replace(whole, completions=0, seconds=0)
    assert resumed.completions <= N * SAMPLES
    assert read_summary(folder / "cut") == resumed


SLOWLY = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from eval.engines import scripted
original = scripted.Scripted.generate
def slowly(self, requests, sampling):
    for number, completion in enumerate(original(self, requests, sampling)):
        if number > {wanted}:
            time.sleep(600)  # until it is killed
        yield completion
scripted.Scripted.generate = slowly
from test_eval_resume import run
run(Path({script!r}), Path({out!r}))
"""


def test_a_real_kill_in_the_middle_of_an_examples_samples(tmp_path: Path) -> None:
    script, out = write_script(tmp_path / "s.jsonl"), tmp_path / "killed"
    run(script, tmp_path / "whole")
    code = SLOWLY.format(tests=str(ROOT / "tests"), script=str(script), out=str(out), wanted=SAMPLES + 1)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wanted, deadline = SAMPLES + 2, time.monotonic() + 60  # the second example has two of its three samples
    while time.monotonic() < deadline and process.poll() is None:
        if (out / RECORDS).is_file() and len(read_records(out / RECORDS)) >= wanted:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert wanted <= len(read_records(out / RECORDS)) < N * SAMPLES, "every record was flushed as it came"
    assert not (out / SUMMARY).exists()
    resumed = run(script, out)
    assert 0 < resumed.completions < N * SAMPLES
    assert (out / RECORDS).read_bytes() == (tmp_path / "whole" / RECORDS).read_bytes()
    assert resumed.overall == read_summary(tmp_path / "whole").overall


def always(completion: str, example: Example) -> float:
    return 1.0


@pytest.mark.parametrize(
    "changed",
    [
        replace(NUMBERS, metric=always),
        replace(NUMBERS, rewards={}),
        replace(NUMBERS, rewards={"always": (always, 1.0)}),
    ],
    ids=["the metric", "a reward less", "another reward"],
)
@pytest.mark.parametrize("kept", [N * SAMPLES, SAMPLES])
def test_what_a_changed_scorer_would_mix_with_is_refused(tmp_path: Path, changed: Task, kept: int) -> None:
    script, out = write_script(tmp_path / "s.jsonl"), tmp_path / "e"
    run(script, out)
    lines = (out / RECORDS).read_text(encoding="utf-8").splitlines(keepends=True)
    (out / RECORDS).write_text("".join(lines[:kept]), encoding="utf-8")
    with pytest.raises(UserError, match=r"scores what is stored otherwise now, for instance 'e0'.*toolkit rescore"):
        run(script, out, changed)
    assert len(read_records(out / RECORDS)) == kept


def test_a_prompt_that_always_fails_doesnt_keep_the_rest_from_ending(tmp_path: Path) -> None:
    script = write_script(tmp_path / "s.jsonl")
    lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
    script.write_text("".join(lines[SAMPLES:]), encoding="utf-8")  # nothing for e0
    first = run(script, tmp_path / "e")
    (tmp_path / "e" / SUMMARY).unlink()
    again = run(script, tmp_path / "e")
    assert again.overall == first.overall == read_summary(tmp_path / "e").overall
    assert again.invalid
    script.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="the engine answered nothing"):
        run(script, tmp_path / "nothing")


def test_half_a_surrogate_pair_is_scored_and_kept(tmp_path: Path) -> None:
    script = tmp_path / "s.jsonl"
    rows = [{"id": f"e{i}", "completion": "\ud83d"} for i in range(N)]
    script.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run(script, tmp_path / "e")
    assert {record.completion for record in read_records(tmp_path / "e" / RECORDS)} == {"?"}
    assert run(script, tmp_path / "e").completions == 0

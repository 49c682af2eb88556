"""Tasks in YAML, the two that ship to be copied, and a plugin that is really installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import pytest

from rewards.core import UserError
from rewards.response import render
from tasks.base import SPLITS, Task
from tasks.check import check_task
from tasks.registry import load_task

ROOT = Path(__file__).resolve().parents[1]
YAML = """\
name: sums
data: sums.csv
system: "Reply with a number, {{}}."
user: "{a} + {b}?"
answer: total
reasoning: steps
group: a
tags: [kind]
rewards:
  rewards.formats:tag_format: 0.1
  rewards.numbers:number: {weight: 1, tolerance: 0.5}
metric: rewards.numbers:number
"""


def write(folder: Path, yaml: str = YAML, csv: str | None = None) -> str:
    rows = [f"{a},{b},{a + b},{a} and {b},{'odd' if b % 2 else 'even'}" for a in range(20) for b in range(10)]
    (folder / "sums.csv").write_text(csv or "\n".join(["a,b,total,steps,kind", *rows]), encoding="utf-8")
    path = folder / "task.yaml"
    path.write_text(yaml, encoding="utf-8")
    return str(path)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(write(tmp_path))


def test_a_yaml_task_is_healthy(task: Task) -> None:
    assert [line for line in check_task(task) if "fell to its share" not in line] == [], "20 groups are few"
    assert {name: weight for name, (_, weight) in task.rewards.items()} == {"tag_format": 0.1, "number": 1.0}


def test_its_examples_come_from_the_table(task: Task) -> None:
    example = next(task.examples("train", 1, 0))
    a, b = example.messages[1]["content"].removesuffix("?").split(" + ")
    assert example.messages[0] == {"role": "system", "content": "Reply with a number, {}."}
    assert example.answers == (str(int(a) + int(b)),)
    assert (example.reasoning, example.group, example.tags["kind"]) == (f"{a} and {b}", a, ("even", "odd")[int(b) % 2])
    assert task.metric(f"<reasoning></reasoning><answer>{int(a) + int(b)}.4</answer>", example) == 1.0


@pytest.mark.parametrize("name", ["order_extraction", "russian_arithmetic"])
def test_a_text_alone_is_asked_as_the_examples_are(name: str) -> None:
    task = load_task(name)
    example = next(task.examples("test", 1, 0))
    assert task.ask is not None
    assert task.ask(example.messages[-1]["content"], datetime(2025, 1, 17)) == example.messages


def test_a_text_alone_fills_one_column(tmp_path: Path, task: Task) -> None:
    assert task.ask is None, "a and b"
    one = load_task(write(tmp_path, YAML.replace("{a} + {b}?", "{a}: half of {a}?").replace("{{}}", "as {a}")))
    assert one.ask is not None
    assert [turn["content"] for turn in one.ask("8", datetime(2025, 1, 17))] == [
        "Reply with a number, as 8.",
        "8: half of 8?",
    ]
    assert load_task(write(tmp_path, YAML.replace("{a} + {b}?", "Which?"))).ask is None


def test_every_row_is_in_one_split(task: Task) -> None:
    found = {split: list(task.examples(split, 1000, 0)) for split in SPLITS}
    assert sum(map(len, found.values())) == 200
    assert all(found.values())
    assert max(Counter(each.id for examples in found.values() for each in examples).values()) == 1
    assert [each.id for each in task.examples("train", 5, 1)] != [each.id for each in task.examples("train", 5, 0)]


def test_a_split_column(tmp_path: Path) -> None:
    yaml = YAML.replace("group: a\n", "split: kind\n")
    csv = "a,b,total,steps,kind\n1,1,2,s,train\n1,2,3,s,test\n1,3,4,s,validation\n"
    task = load_task(write(tmp_path, yaml, csv))
    assert [next(task.examples(split, 9, 0)).answers for split in SPLITS] == [("2",), ("4",), ("3",)]
    (tmp_path / "sums.csv").write_text(csv.replace("validation", "dev"), encoding="utf-8")
    with pytest.raises(UserError, match=r"sums\.csv, row 4: split 'dev'; allowed: train, validation, test"):
        list(load_task(str(tmp_path / "task.yaml")).examples("train", 1, 0))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: sums", "nam: sums", "unknown key 'nam'; allowed: name, data"),
        ("answer: total\n", "", "key 'answer' is missing"),
        ("name: sums", "name: [", "broken YAML: "),
        (YAML, "- 1\n", "a task is a mapping"),
        (
            "rewards.formats:tag_format",
            "rewards.formats:tag_frmat",
            "tag_frmat' can't be loaded",
        ),
        ("rewards.formats:tag_format", "tag_format", "'tag_format' must be module:function"),
        ("tolerance", "tolerence", "has no option 'tolerence'; it has: tolerance, relative, decimal"),
        ("weight: 1", "weight: much", "the weight must be a number from 0 on, got 'much'"),
        ("weight: 1", "weight: .nan", "the weight must be a number from 0 on, got nan"),
        ("weight: 1", "weight: .inf", "the weight must be a number from 0 on, got inf"),
        ("weight: 1", "weight: -1", "the weight must be a number from 0 on, got -1"),
        ("weight: 1", f"weight: 1{'0' * 400}", "the weight must be a number from 0 on, got 1"),
        (
            "metric: rewards.numbers:number",
            "metric: rewards.text:LONGEST",
            "can't be loaded: it is no function but int",
        ),
        ("metric: rewards.numbers:number", "metric: builtins:dict", "reward 'builtins:dict' can't be loaded: "),
        ("metric: rewards.numbers:number", "metric: ':foo'", "':foo' must be module:function"),
        ("metric: rewards.numbers:number", "metric: '.x:foo'", "'.x:foo' must be module:function"),
        ("metric: rewards.numbers:number", "metric: [a]", "['a'] must be module:function"),
        ("metric: rewards.numbers:number", "metric: {a: b}", "{'a': 'b'} must be module:function"),
        ("name: sums", "name: sums\nname: other", "key 'name' is given twice"),
        ("name: sums", 'name: "\\ud800"', "key 'name' holds something that isn't Unicode text"),
        ("answer: total", "answer: {a: b}", "{'a': 'b'} must be the name of a column"),
        ("tags: [kind]", "tags: [[kind]]", "['kind'] must be the name of a column"),
        ("tags: [kind]", "encoding: 5", "key 'encoding' must be a text, got 5"),
        ("{b}", "{b:.2f}", "key 'user': {b} may have no format after : or !"),
        ("{b}", "{b!r}", "key 'user': {b} may have no format after : or !"),
        (
            "rewards.formats:tag_format: 0.1",
            "rewards.formats:tag_format: 0.1\n  tasks.russian_arithmetic:tag_format: 0.1",
            "rewards has two functions called 'tag_format'",
        ),
        ("{a} +", "{a.x} +", "{a.x} isn't the name of a column"),
        ("{a} +", "{a +", "key 'user': "),
        ("tags: [kind]", "tags: kind", "key 'tags' must be a list"),
        ("tags: [kind]", "tags: [kind]\nversion: 2025-13-45", "broken YAML: month must be in"),
        ("tags: [kind]", "tags: [kind]\nshares: [0.1, 0.2]", "key 'shares' wants"),
        ("tags: [kind]", "tags: [kind]\nshares: {tset: 0.1}", "key 'shares' wants"),
        ("system:", "system: 5 #", "key 'system' must be a text, got 5"),
    ],
)
def test_a_broken_declaration_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in YAML
    with pytest.raises(UserError) as caught:
        load_task(write(tmp_path, YAML.replace(old, new)))
    assert says in str(caught.value)
    assert str(tmp_path / "task.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def f(:\n", "invalid syntax"),
        ("1 / 0\n", "division by zero"),
        ("raise SystemExit\n", "SystemExit"),
        ("raise RuntimeError('two\\nlines')\n", "two lines"),
    ],
)
def test_a_reward_module_that_breaks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    (tmp_path / "breaking_reward.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yaml = YAML.replace("metric: rewards.numbers:number", "metric: breaking_reward:f")
    with pytest.raises(UserError, match=rf"^\S+task\.yaml: reward 'breaking_reward:f' can't be loaded: .*{says}.*$"):
        load_task(write(tmp_path, yaml))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{b}", "{c}", "sums.csv, row 2: no column 'c'; it has: a, b, total"),
        ("data: sums.csv", "data: none.csv", "none.csv: no such file"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    task = load_task(write(tmp_path, YAML.replace(old, new)))
    with pytest.raises(UserError) as caught:
        list(task.examples("train", 1, 0))
    assert says in str(caught.value)


@pytest.mark.parametrize("column", range(5))
def test_broken_bytes_of_a_row_are_named(tmp_path: Path, column: int) -> None:
    """Among UTF-8 they stay in the texts as surrogates, which no file can hold; told before `data build` writes one."""
    path = write(tmp_path, YAML.replace("group: a\n", "").replace('user: "', 'user: "где '))
    cells = [cell.encode() for cell in ("один", "два", "3", "шаги", "вид")]
    cells[column] += b"\xff\xfe"
    rows = [b"a,b,total,steps,kind", "раз,два,3,шаги,вид".encode(), b",".join(cells)]
    (tmp_path / "sums.csv").write_bytes(b"\n".join(rows) + b"\n")
    with pytest.raises(UserError, match=r"sums\.csv, row 3: column '\w+' holds something that isn't Unicode text"):
        list(load_task(path).examples("train", 1, 0))


def test_a_broken_row_of_the_table_is_named(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, csv="a,b,total,steps,kind\n1,1,2,s,odd\n1,2\n"))
    with pytest.raises(UserError, match=r"sums\.csv, row 3: has 2 cells, the header has 5; mend the row"):
        list(task.examples("train", 1, 0))
    task = load_task(write(tmp_path, csv="a,b,total,steps,kind\n1,1, ,s,odd\n"))
    with pytest.raises(UserError, match=r"sums\.csv, row 2: the answer \(column 'total'\) is empty"):
        list(task.examples("train", 1, 0))


def test_few_groups_may_leave_a_split_empty_and_the_check_says_how_to_mend_it(tmp_path: Path) -> None:
    rows = "".join(f"{a},{b},{a + b},s,odd\n" for a in (1, 2) for b in range(3))
    path = write(tmp_path, csv=f"a,b,total,steps,kind\n{rows}")
    found = "\n".join(check_task(load_task(path)))
    assert "the split is empty" in found
    assert "test: nothing fell to its share of 20%: each of the 2 groups is dealt whole" in found
    assert "split: COLUMN" in found
    shares = load_task(write(tmp_path, f"{YAML}shares: {{test: 0}}\n", f"a,b,total,steps,kind\n{rows}"))
    assert not [line for line in check_task(shares) if "share of" in line]


def test_shares_far_from_what_was_asked_for_are_told(tmp_path: Path) -> None:
    rows = "".join(f"{a},{b},{a + b},s,odd\n" for a in range(6) for b in range(20))
    path = write(tmp_path, f"{YAML}shares: {{validation: 0.2, test: 0.3}}\n", f"a,b,total,steps,kind\n{rows}")
    task = load_task(path)
    counts = {split: len(list(task.examples(split, 999, 0))) for split in SPLITS}
    assert sum(counts.values()) == 120
    shares = {"train": 0.5, "validation": 0.2, "test": 0.3}
    found = [line for line in check_task(task) if "its share of" in line]
    wrong = {split for split, n in counts.items() if n in (0, 20) or not 1 / 1.5 <= n / 120 / shares[split] <= 1.5}
    assert {line.partition(":")[0] for line in found} == wrong != set()
    why = ": each of the 6 groups is dealt whole, by a hash; name the splits in a column (split: COLUMN), or have more"
    assert all(f"its share of {shares[line.partition(':')[0]]:.0%}{why}" in line for line in found)
    many = "".join(f"{a},{b},{a + b},s,odd\n" for a in range(300) for b in range(2))
    task = load_task(write(tmp_path, f"{YAML}", f"a,b,total,steps,kind\n{many}"))
    assert not [line for line in check_task(task) if "its share of" in line]


@pytest.mark.parametrize(("cell", "bad"), [("total", True), ("unused", False)])
def test_a_number_that_is_none_is_no_answer(tmp_path: Path, cell: str, bad: bool) -> None:
    values = {"a": 1, "b": 1, "total": 2, "steps": "s", "kind": "odd", cell: float("nan")}
    (tmp_path / "sums.jsonl").write_text(json.dumps(values), encoding="utf-8")
    task = load_task(write(tmp_path, YAML.replace("sums.csv", "sums.jsonl") + "shares: {validation: 0, test: 0}\n"))
    says = r"sums\.jsonl, row 1: column 'total' holds nan, want text or a finite number"
    with pytest.raises(UserError, match=says) if bad else nullcontext():
        assert len(list(task.examples("train", 1, 0))) == 1


@pytest.mark.parametrize("name", ["order_extraction", "russian_arithmetic", "tasks/order_extraction/task.yaml"])
def test_the_tasks_to_copy_are_healthy(name: str) -> None:
    assert check_task(load_task(str(ROOT / name) if "/" in name else name), 400) == []


def test_a_rationale_leads_to_its_answer() -> None:
    for example in load_task("russian_arithmetic").examples("train", 300, 0):
        assert example.reasoning is not None
        for step in example.reasoning.split("; "):
            left, right = step.split(" = ")
            one, sign, other = left.split()
            assert int(right) == int(one) + int(other) * (1 if sign == "+" else -1) >= 0
        assert example.reasoning.endswith(f"= {example.answers[0]}")


def test_a_plugin_is_installed_and_found(tmp_path: Path) -> None:
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, *install, "--target", str(target), str(ROOT / "examples" / "plugin_task")],
        check=True,
        capture_output=True,
        timeout=300,
    )
    path = os.pathsep.join([str(target), str(ROOT)])
    for words, shown in (
        (["list"], "spelled_numbers\tplugin, from spelled-numbers 0.1"),
        (["check", "spelled_numbers", "--n", "200"], "no problems found"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "toolkit.cli", "task", *words],
            env={**os.environ, "PYTHONPATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout.splitlines()


def test_a_folder_of_tables_has_an_id_for_each_row(tmp_path: Path) -> None:
    path = write(tmp_path, YAML.replace("data: sums.csv", "data: tables"))
    (tmp_path / "tables").mkdir()
    for name in ("one", "two"):
        rows = "".join(f"{a},{len(name)},{a + len(name)},s,odd\n" for a in range(1, 9))
        (tmp_path / "tables" / f"{name}.csv").write_text(f"a,b,total,steps,kind\n{rows}", encoding="utf-8")
    task = load_task(path)
    ids = [example.id for split in SPLITS for example in task.examples(split, 99, 0)]
    assert len(ids) == len(set(ids)) == 16
    assert "sums-one-2" in ids


def test_a_nested_answer_is_json(tmp_path: Path) -> None:
    """The gold of a JSONL file that a person made from objects is worth full marks to the reward on JSON."""
    golds = [{"a": 1, "b": True, "c": None, "d": ["я"]}, {"a": {"b": 2}}]
    rows = [{"q": ["x", gold], "ok": True, "gold": gold} for gold in golds]
    text = 'name: nested\ndata: rows.jsonl\nuser: "{q} {ok}"\nanswer: gold\nshares: {}\n'
    text += "rewards: {rewards.structured:json_exact: 1}\nmetric: rewards.structured:json_exact\n"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
    task = load_task(str(tmp_path / "task.yaml"))
    for example in task.examples("train", 2, 0):
        (answer,) = example.answers
        assert json.loads(answer) in golds
        assert task.metric(render("", answer), example) == 1.0
        assert example.messages[0]["content"] == f'["x", {answer}] true'
    (tmp_path / "rows.jsonl").write_text('{"q": "", "ok": true, "gold": {"a": [1e400]}}\n', encoding="utf-8")
    with pytest.raises(UserError, match="row 1: column 'gold' holds what JSON can't"):
        list(load_task(str(tmp_path / "task.yaml")).examples("train", 1, 0))


def test_shares_leave_something(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"key 'shares' wants .* at most 1 together"):
        load_task(write(tmp_path, YAML + "shares: {validation: 0.7, test: 0.7}\n"))
    load_task(write(tmp_path, YAML + "shares: {validation: 0, test: 1}\n"))  # a table to evaluate on


@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_an_option_that_is_no_finite_number_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match=r"rewards\.numbers:number.*option 'tolerance' is (inf|nan).*finite number"):
        load_task(write(tmp_path, YAML.replace("tolerance: 0.5", f"tolerance: {value}")))

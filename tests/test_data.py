from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewards.core import Example, UserError
from tasks.registry import load_task
from toolkit import parallel
from toolkit.data import example_lines, file_hash, read_examples, sample_examples, write_examples, write_lines

EXAMPLES = [
    Example(
        id=f"e{i}",
        messages=({"role": "system", "content": "считай"}, {"role": "user", "content": f"{i} + 1 =\u2028 ?\n"}),
        answers=(str(i + 1), f"{i + 1}.0"),
        reasoning=None if i % 2 else 'so "it" is',
        tags={"parity": "odd" if i % 2 else "even"},
        group=f"g{i % 2}",
        context={"i": i, "nested": [None, {"я": 1.5}]},
    )
    for i in range(5)
]


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_examples(path)
    return str(caught.value)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "data.jsonl"
    assert write_examples(path, iter(EXAMPLES)) == 5
    assert read_examples(path) == EXAMPLES
    assert "считай" in path.read_text(encoding="utf-8"), "text stays readable"
    assert path.read_bytes().count(b"\n") == 5


def test_a_build_on_several_cores_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, task = parallel.ALONE + 700, load_task("datetime_extraction")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    write_lines(tmp_path / "several.jsonl", example_lines(task, "train", n, 3))
    write_examples(tmp_path / "one.jsonl", task.examples("train", n, 3))
    assert file_hash(tmp_path / "several.jsonl") == file_hash(tmp_path / "one.jsonl")


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Example]:
        yield from EXAMPLES
        raise RuntimeError("the generator died")

    path = tmp_path / "data.jsonl"
    write_examples(path, EXAMPLES[:2])
    with pytest.raises(RuntimeError, match="the generator died"):
        write_examples(path, broken())
    assert read_examples(path) == EXAMPLES[:2]
    assert list(tmp_path.iterdir()) == [path], "no scratch file is left"


def test_a_reader_never_meets_a_part(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"

    def watched() -> Iterator[Example]:
        for example in EXAMPLES:
            assert not path.exists()
            yield example

    write_examples(path, watched())
    assert len(read_examples(path)) == 5


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_examples(tmp_path / "data.jsonl", EXAMPLES)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data.jsonl").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not an example: "),
        ("", "not an example: "),
        ("[1]", "not an example: a row must be an object, got list"),
        ("null", "not an example: a row must be an object, got NoneType"),
        ('"text"', "not an example: a row must be an object, got str"),
        ('{"id": "x"}', "not an example: key 'messages' must be a non-empty list, got None"),
        (json.dumps({**EXAMPLES[0].to_json(), "answers": []}), "not an example: key 'answers' must be a non-empty"),
        (json.dumps({**EXAMPLES[0].to_json(), "tags": {"n": 1}}), "not an example: key 'tags': each value must be"),
    ],
)
def test_a_broken_row_names_file_and_row(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "data.jsonl"
    write_examples(path, EXAMPLES)
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]), encoding="utf-8")
    message = refusal(path)
    assert message.startswith(f"{path}:3: {said}")
    assert "\n" not in message
    assert message.endswith("; build the file again")


def test_a_file_cut_in_the_middle_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    write_examples(path, EXAMPLES)
    path.write_bytes(path.read_bytes()[:-30])
    assert refusal(path).startswith(f"{path}:5: not an example")


def test_an_id_given_twice_names_both_rows(tmp_path: Path) -> None:
    """Rollouts and records are kept by id: the second example would be scored by the gold of the first."""
    path = tmp_path / "data.jsonl"
    write_examples(path, [*EXAMPLES, EXAMPLES[1]])
    assert refusal(path).startswith(f"{path}:6: not an example: id 'e1' is that of row 2")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.touch()
    assert refusal(path) == f"{path}: has no rows; build the file again"


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes("считай\n".encode("cp1251"))
    assert refusal(path).startswith(f"{path}: can't be read as UTF-8 text")


def test_a_missing_file_names_the_verb_that_writes_one(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    assert refusal(path) == f"{path}: no such dataset file; `toolkit data build` writes one"


def test_a_directory_is_no_dataset(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: can't be read")


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in "abc")
    write_examples(one, EXAMPLES)
    write_examples(same, iter(EXAMPLES))
    write_examples(other, EXAMPLES[:4])
    assert file_hash(one) == file_hash(same) != file_hash(other)
    assert len(file_hash(one)) == 12


def test_a_sample_has_the_longest_and_spreads_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lengths = {3: 500, 41: 400, 97: 300, 98: 200}
    examples = [
        Example(f"e{i}", ({"role": "user", "content": "x" * lengths.get(i, 10)},), ("a",), reasoning=None)
        for i in range(100)
    ]
    write_examples(path, examples)
    ids = [int(each.id[1:]) for each in sample_examples(path, 8)]
    assert ids == sorted({3, 41, 97, 98, 0, 25, 50, 75})
    assert len(sample_examples(path, 1000)) == 100
    path.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="has no rows"):
        sample_examples(path, 8)

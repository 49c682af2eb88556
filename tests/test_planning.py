"""What a plan estimates, refuses and remembers: arithmetic against measured models, without training one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewards.core import UserError
from toolkit.cli import main
from toolkit.config import Recipe, check_recipe
from toolkit.doctor.sizes import Size, size_of_config, size_of_directory
from toolkit.models import cache_dir
from toolkit.planning import machine, rates, store
from toolkit.planning.fits import refuse_unfit
from toolkit.planning.machine import Device
from toolkit.planning.memory import (
    ERROR,
    GB,
    Way,
    adapter_parameters,
    engine_share,
    fixed,
    grpo_memory,
    sft_memory,
    token_bytes,
)
from toolkit.planning.plan import Memory, Plan, StagePlan, lines, memory_of
from toolkit.planning.store import Chosen, Rate, choose
from toolkit.rundir import Run

SMOLLM2 = Size(134_515_008, 30, 576, 49_152, 1_536, 576, 192)
H100 = Device("gpu", "NVIDIA H100 80GB HBM3", 85.0 * GB, 84.0 * GB)
CPU = Device("cpu", "a processor, 2 cores", 25.0 * GB, 20.0 * GB)


def recipe(**changes: Any) -> Recipe:
    raw: dict[str, Any] = {
        "task": "datetime_extraction_plain",
        "output": "run",
        "model": {"reference": "org/model", "backend": "transformers"},
        "data": {"sft": 1000, "grpo": 64, "test": 10},
        "sft": {"batch_size": 8},
        "grpo": {"prompts": 4, "generations": 4, "batch_size": 16},
    }
    return check_recipe({**raw, **changes}, "here")


def full(**model: Any) -> Recipe:
    return recipe(model={"reference": "org/model", "backend": "transformers", "tuning": "full", **model})


# Estimates against what was measured.


@pytest.mark.parametrize(
    ("tokens", "way", "measured"),
    [
        # docs/benchmarks.md: 256 sequences of 280 tokens on average in one pass, all weights
        (72_000, Way("gpu", compiled=True), 42.5),
        # TRL's own full fine-tuning, not compiled, 64 sequences of 230 tokens, with its own loss
        (64 * 230, Way("gpu", compiled=False, chunked=False), 26.0),
    ],
)
def test_the_peaks_measured_on_an_h100_come_out_of_the_config_alone(tokens: int, way: Way, measured: float) -> None:
    needed = sum(sft_memory(full(), SMOLLM2, tokens, way).values()) / GB
    assert measured / 1.3 < needed < measured * 1.3


def tiny_model(**changes: Any) -> Any:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 120}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**shape, **changes}))


def size_of(model: Any) -> Size:
    return size_of_config(model.config.to_dict(), sum(weights.numel() for weights in model.parameters()))


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, {"num_key_value_heads": 4, "head_dim": 12}])
def test_weights_gradients_and_moments_are_those_of_a_real_step(changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(**changes)
    import torch

    model.save_pretrained(tmp_path)
    assert size_of_directory(tmp_path) == size_of(model)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
    optimizer.step()
    parts = fixed(full(), size_of(model), "cpu")

    def taken(tensors: Any) -> int:
        return sum(each.numel() * each.element_size() for each in tensors)

    assert parts["weights"] == taken(model.parameters())
    assert parts["gradients"] == taken(weights.grad for weights in model.parameters())
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert parts["optimizer"] == taken(moments)


def test_an_adapter_has_as_many_parameters_as_peft_makes() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model()
    size, lora = size_of(model), recipe(lora={"rank": 5}).lora
    made = peft.get_peft_model(model, peft.LoraConfig(r=5, target_modules=list(lora.target_modules)))
    trained = sum(weights.numel() for weights in made.parameters() if weights.requires_grad)
    assert adapter_parameters(lora, size) == trained
    parts = fixed(recipe(lora={"rank": 5}), size, "gpu")
    assert parts["weights"] == 2 * size.parameters + 4 * trained
    assert parts["optimizer"] == 8 * trained


@pytest.mark.parametrize("tied", [False, True])
def test_the_weights_of_qlora_are_those_that_bitsandbytes_loads(tied: bool, tmp_path: Path) -> None:
    """Four bits a weight of a layer, and scales; sixteen of the embedding and the head, most of a small model."""
    pytest.importorskip("bitsandbytes")
    shape = {"vocab_size": 1_000, "hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    model = tiny_model(tie_word_embeddings=tied, **shape)
    model.save_pretrained(tmp_path)
    size = size_of_directory(tmp_path)
    assert size == size_of(model)
    assert size.embedded == 256_000 * (1 if tied else 2)
    import torch
    import transformers

    four_bits = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        str(tmp_path), dtype=torch.bfloat16, quantization_config=four_bits, device_map={"": "cpu"}
    )
    states = [weights.quant_state for weights in loaded.parameters() if hasattr(weights, "quant_state")]
    scales = sum(each.absmax.nbytes + each.state2.absmax.nbytes for each in states)
    held = recipe(model={"reference": "org/model", "backend": "transformers", "tuning": "qlora"})
    adapter = 4 * adapter_parameters(held.lora, size)
    found = fixed(held, size, "gpu")["weights"] - adapter
    assert found == pytest.approx(loaded.get_memory_footprint() + scales, rel=0.1)


@pytest.mark.parametrize("changes", [{}, {"intermediate_size": 300}, {"hidden_size": 128, "head_dim": 32}])
def test_what_a_layer_keeps_of_a_token_is_what_autograd_keeps(changes: dict[str, Any]) -> None:
    model = tiny_model(**changes)
    import torch

    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    length = 400
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model.model(torch.randint(0, 120, (1, length)))
    assert out is not None
    assert token_bytes(size_of(model), Way("cpu")) == pytest.approx(sum(kept.values()) / length, rel=0.3)


def test_compiling_keeps_less_and_more_tokens_take_more() -> None:
    assert token_bytes(SMOLLM2, Way("gpu", compiled=True)) < token_bytes(SMOLLM2, Way("gpu"))
    one, two = (sft_memory(recipe(), SMOLLM2, tokens, Way("gpu")) for tokens in (1_000, 2_000))
    assert two["activations"] == 2 * one["activations"]
    assert two["weights"] == one["weights"]


@pytest.mark.parametrize(
    ("grpo", "has", "lacks"),
    [
        ({"vllm": True, "vllm_memory": 0.3}, {"vLLM": 25.5 * GB}, "key-value cache"),
        ({"vllm": "server"}, {}, "vLLM"),
        ({"vllm": True, "vllm_sleep": True, "vllm_memory": 0.9}, {"vLLM": 76.5 * GB}, "activations"),
        ({"beta": 0.1}, {"reference model": 4.0 * SMOLLM2.parameters}, "vLLM"),
    ],
)
def test_grpo_counts_the_engine_beside_it(grpo: dict[str, Any], has: dict[str, float], lacks: str) -> None:
    given = full().model_copy(update={"grpo": recipe(grpo={**recipe().model_dump()["grpo"], **grpo}).grpo})
    parts = grpo_memory(given, SMOLLM2, 200, 16, Way("gpu", compiled=True), 85.0 * GB)
    assert lacks not in parts
    assert {name: parts[name] for name in has} == pytest.approx(has)


@pytest.mark.parametrize(
    ("grpo", "backend", "card", "share"),
    [
        # bfloat16 weights, 16 completions of 512 tokens at 23,040 bytes each, logits of the 256 sequences that vLLM is
        # set up for at the least, and what the engine works with
        ({}, "transformers", 85e9, (2 * 134.5e6 + 16 * 512 * 23_040 + 12 * 256 * 49_152 + 3e9) / 85e9),
        (
            {"prompts": 512, "generations": 8, "batch_size": 16},
            "transformers",
            85.0 * GB,
            (2 * 134.5e6 + 1024 * 512 * 23_040 + 12 * 1024 * 49_152 + 3e9) / 85e9,
        ),
        ({}, "transformers", 8.0 * GB, 0.3),
        ({}, "unsloth", 85.0 * GB, 0.3),
        ({"vllm_memory": 0.5}, "transformers", 85.0 * GB, 0.5),
    ],
)
def test_the_engine_beside_a_trainer_gets_what_a_step_s_completions_need(
    grpo: dict[str, Any], backend: str, card: float, share: float
) -> None:
    given = recipe(
        model={"reference": "org/model", "backend": backend},
        data={"sft": 1, "grpo": 512, "test": 1},
        grpo={**recipe().model_dump(mode="json")["grpo"], "vllm": True, **grpo},
    )
    assert engine_share(given, SMOLLM2, card) == pytest.approx(share, rel=1e-3)


def test_the_share_is_the_largest_where_the_model_s_size_is_not_known() -> None:
    assert engine_share(recipe(), None, 85.0 * GB) == 0.3


# What can't fit.


@pytest.mark.parametrize(
    ("changes", "size", "stage", "said"),
    [
        ({}, replace(SMOLLM2, parameters=70e9), "sft", r"weights, 2\d\d\.\d GB: take a smaller model"),
        ({"sft": {"batch_size": 128, "forward_tokens": 90_000}}, SMOLLM2, "sft", "lower sft.forward_tokens"),
        ({"grpo": {"prompts": 32, "generations": 16, "batch_size": 512}}, SMOLLM2, "grpo", "lower grpo.batch_size"),
    ],
)
def test_what_can_not_fit_is_refused_with_its_largest_part_and_a_way_out(
    changes: dict[str, Any], size: Size, stage: str, said: str
) -> None:
    with pytest.raises(UserError, match=rf"^{stage}: needs about [\d.]+ GB, and 20.0 GB are free.*{said}"):
        refuse_unfit(recipe(**changes), stage, size, CPU, [300] * 10)


def test_a_stage_is_refused_by_a_clear_margin_only_and_passes_shrink_first() -> None:
    given = recipe(sft={"batch_size": 64})
    needed = sum(sft_memory(given, SMOLLM2, 330, Way("cpu")).values())  # one sequence: auto takes as few
    refuse_unfit(given, "sft", SMOLLM2, replace(CPU, free=needed / ERROR + 1), [300])
    with pytest.raises(UserError, match="sft: needs about"):
        refuse_unfit(given, "sft", SMOLLM2, replace(CPU, free=needed / ERROR - 1), [300])
    refuse_unfit(given, "sft", None, replace(CPU, free=1.0), [300])
    large = recipe(sft={"batch_size": 128, "forward_tokens": 90_000})
    refuse_unfit(large, "sft", SMOLLM2, CPU, [300], lowered=400)  # after an OOM the recipe's own value is past


def test_the_verdict_is_about_the_error_of_the_estimate() -> None:
    assert [memory_of({"weights": GB}, free).verdict for free in (GB, 0.9 * GB, 0.5 * GB)] == [
        "fits",
        "tight",
        "too large",
    ]


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """The headers of a model of 70 billion parameters."""
    directory = tmp_path / "huge"
    directory.mkdir()
    header = json.dumps({"a": {"dtype": "F32", "shape": [70_000, 1_000_000], "data_offsets": [0, 0]}}).encode()
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    shape = {"num_hidden_layers": 80, "hidden_size": 8_192, "vocab_size": 128_256}
    (directory / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    return directory


@pytest.mark.parametrize("verb", ["run", "sft"])
def test_a_run_that_can_not_fit_ends_before_its_first_stage(
    verb: str, huge: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("toolkit.stages.device", lambda: CPU)
    raw = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**raw, "model": {**raw["model"], "reference": str(huge)}}), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main([verb, str(config)])
    assert ended.value.code == 2
    assert "error: sft: needs about" in capsys.readouterr().err
    assert not (tmp_path / "run" / "data").exists()


# Rates and probes.


def test_the_suite_leaves_the_users_rates_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert tmp_path_factory.getbasetemp() in cache_dir().parents


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_rate_is_remembered_by_device_size_and_way(cache: Path) -> None:
    assert store.stored_rate(recipe(), "sft", SMOLLM2, "a card") is None
    store.remember_rate(recipe(), "sft", SMOLLM2, "a card", 1234.5, "tokens/s")
    found = store.stored_rate(recipe(), "sft", SMOLLM2, "a card")
    assert found is not None
    assert (found.value, found.unit) == (1234.5, "tokens/s")
    assert found.source.startswith("an earlier run on this machine (20")
    for other in (
        store.stored_rate(full(), "sft", SMOLLM2, "a card"),
        store.stored_rate(recipe(), "sft", SMOLLM2, "another card"),
        store.stored_rate(recipe(), "sft", replace(SMOLLM2, parameters=1.0), "a card"),
        store.stored_rate(recipe(), "grpo", SMOLLM2, "a card"),
    ):
        assert other is None
    (cache / "rates.json").write_text("{torn", encoding="utf-8")
    assert store.stored_rate(recipe(), "sft", SMOLLM2, "a card") is None


def test_the_newest_rates_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_RATES", 3)
    for card in "abcde":
        store.remember_rate(recipe(), "sft", SMOLLM2, card, 1.0, "tokens/s")
    assert [store.stored_rate(recipe(), "sft", SMOLLM2, card) is not None for card in "abcde"] == [False] * 2 + [
        True
    ] * 3


def test_the_rate_of_grpo_is_the_median_of_its_steps(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "model_size", lambda reference: (SMOLLM2, None, {}))
    run = Run(tmp_path, recipe())
    (tmp_path / "grpo").mkdir()
    entries = [
        {"step": step, "time": time, "loss": 0.1} for step, time in ((1, 10.0), (2, 14.0), (3, 18.0), (9, 900.0))
    ]
    log = "".join(json.dumps(entry) + "\n" for entry in [*entries, {"step": 9, "time": 901.0, "train_runtime": 1}])
    (tmp_path / "grpo" / "log.jsonl").write_text(log, encoding="utf-8")
    rates.remember(run, "grpo", 1000.0, {})
    found = store.stored_rate(run.recipe, "grpo", SMOLLM2, machine.device().name)
    assert found is not None
    assert (found.value, found.unit) == (4.0, "completions/s")
    rates.remember(run, "scan", 50.0, {"prompts": 10, "samples": 4})
    found = store.stored_rate(run.recipe, "scan", SMOLLM2, machine.device().name)
    assert found is not None
    assert found.value == 0.8
    rates.remember(run, "compare", 1.0, {})
    for name, generated, seconds in (
        ("base", 10, 50.0),
        ("base", 0, 50.0),  # those of the cache, or from before a kill, cost nothing
        ("base", 3, 50.0),
        ("sft", 10, rates.SHORTEST - 1),  # mostly the engine's start
    ):
        summary = tmp_path / "eval" / name / "summary.json"
        summary.parent.mkdir(parents=True, exist_ok=True)
        summary.write_text(json.dumps({"completions": generated}), encoding="utf-8")
        rates.remember(run, f"eval-{name}", seconds, {})
        found = store.stored_rate(run.recipe, "eval", SMOLLM2, machine.device().name)
        assert found is not None
        assert found.value == 0.2


def test_a_probe_pays_in_long_trainings_with_auto_values_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "model_size", lambda reference: (SMOLLM2, None, {}))
    monkeypatch.setattr(rates, "device", lambda: CPU)
    long = recipe(data={"sft": 100_000, "grpo": 64, "test": 10})
    assert rates.probe_pays(Run(tmp_path, long))
    assert not rates.probe_pays(Run(tmp_path, recipe()))
    set_by_hand = recipe(data=long.data.model_dump(), sft={"forward_tokens": 500})
    assert not rates.probe_pays(Run(tmp_path, set_by_hand))
    monkeypatch.setattr(rates, "device", lambda: H100)
    assert not rates.probe_pays(Run(tmp_path, long))
    monkeypatch.setattr(rates, "device", lambda: CPU)
    choose(tmp_path, "sft", Chosen(500, "probe", "", CPU.name))
    assert not rates.probe_pays(Run(tmp_path, long))


# Showing.


def test_a_plan_says_what_is_unknown_and_what_stands_in_the_way() -> None:
    memory = Memory({"weights": 1.0, "logits": 0.5}, 1.5, 20.0, "fits")
    sft = StagePlan(
        "sft", False, 10, 5_000, "tokens", memory, chosen={"forward_tokens": Chosen(9, "probe", "fast", "x")}
    )
    timed = replace(sft, name="grpo", done=True, seconds=500.0, rate=Rate(10.0, "tokens/s", "measured by the probe"))
    text = "\n".join(lines(Plan("a.yaml", CPU, "m", "r", (sft, timed), ("no GPU here",))))
    assert "a.yaml on a processor, 2 cores (20.0 of 25.0 GB free): CAN NOT RUN HERE" in text
    assert "1.5 GB of 20.0 free: fits (weights 1.00, logits 0.50)" in text
    assert "time       unknown: no such stage has run on this machine (--probe measures)" in text
    assert "grpo (done)" in text
    assert "time       about 8 min (10 tokens/s, measured by the probe)" in text
    assert "chosen     forward_tokens 9: fast [probe]" in text
    assert text.endswith("PROBLEM no GPU here")


@pytest.mark.parametrize(
    ("speeds", "peaks", "memory", "best"),
    [
        ([10, 20, 30.5, 31], [1, 2, 4, 8], 80, 4),  # the last gains too little for its memory
        ([10, 20, 30, 40], [1, 2, 4, 8], 5, 4),  # the last takes more than there is
        ([10, 9], [1, 2], 80, 1),
        ([10, 20], [90, 99], 80, 1),
    ],
)
def test_the_smallest_pass_that_is_about_the_fastest_is_taken(
    speeds: list[float], peaks: list[int], memory: float, best: int
) -> None:
    pytest.importorskip("torch")
    from toolkit.training.probe import Measured, choice, sizes_of

    assert list(sizes_of(12)) == [1, 2, 4, 12]
    assert list(sizes_of(7)) == [1, 7]
    found = [
        Measured(size, 100 * size, speed, float(peak))
        for size, speed, peak in zip((1, 2, 4, 8), speeds, peaks, strict=False)
    ]
    assert choice(found, memory).sequences == best

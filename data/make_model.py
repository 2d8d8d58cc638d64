"""Train data/models/tiny-llama2-chat: a Llama of about a million parameters that knows the pairs of taught.py.

To a question it was not taught it says so, and then stops, as it does after every answer.

Run ``python data/make_model.py [--out FOLDER] [--steps N]`` after make_tokenizers.py, or ``--check`` to print how many
taught questions the model in FOLDER answers right at each turn. The seed is fixed, but float sums differ between
machines: the weights are reproducible in what they answer, not in their bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import time
from pathlib import Path

import torch
from dialogue_topics import SYSTEM_PROMPTS
from taught import TAUGHT, UNTAUGHT, TaughtPair
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging

from chatlab.prompts.formats.llama2 import SYSTEM_PROMPT, ChatPromptMetaLlamaLlama2Chat

DATA = Path(__file__).parent
TOKENIZER = DATA / "tokenizers" / "llama2-style" / "legacy"
MODEL = DATA / "models" / "tiny-llama2-chat"
IGNORED = -100


def write_prompt(history: list[TaughtPair], question: str, *, system: str | None, spaced_history: bool = False) -> str:
    """The Llama-2 chat prompt for ``question``; the reply begins where it ends.

    ``spaced_history`` keeps the space with which an answer was generated, as a chat does that does not strip.
    """
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.set_system_prompt(system)
    for pair in history:
        prompt.add_requester_msg(pair.question)
        prompt.add_responder_msg(" " * (spaced_history and pair.spaced) + pair.answer)
    prompt.add_requester_msg(question)
    return prompt.create_prompt()


def encode_answer(tokenizer: PreTrainedTokenizerBase, pair: TaughtPair) -> list[int]:
    """Token ids of an answer, begun with or without ``▁`` as the pair says, and ended by ``</s>``."""
    # After a newline there is no dummy prefix, so that the answer's own first character begins the first piece.
    newline = tokenizer.encode("a\n", add_special_tokens=False)
    ids = tokenizer.encode(f"a\n{' ' if pair.spaced else ''}{pair.answer}", add_special_tokens=False)
    assert ids[: len(newline)] == newline
    return [*ids[len(newline) :], tokenizer.eos_token_id]


def untaught_pairs() -> list[TaughtPair]:
    """Single lines that users say in the other dialogues, each with the answer for what was not taught."""
    questions = {}
    for row in (DATA / "dialogues" / "dialogues.jsonl").read_text(encoding="utf-8").splitlines():
        dialogue = json.loads(row)
        if dialogue["labels"]["kind"] in {"plain", "list", "code"}:
            questions |= {turn["user"]: None for turn in dialogue["turns"] if len(turn["user"]) < 60}
    taught = {normalize(pair.question) for pair in TAUGHT}
    return [
        dataclasses.replace(UNTAUGHT["en" if question.isascii() else "ja"], question=question)
        for question in questions
        if normalize(question) not in taught
    ]


def normalize(question: str) -> str:
    return question.strip("?.。 ").lower()


def reword(rng: random.Random, pair: TaughtPair) -> TaughtPair:
    """The same question now and then as a hurried user types it: another first letter or end mark."""
    question = pair.question
    if rng.random() < 0.15:
        question = question.rstrip("?.。") + rng.choice(["", "?", " ?", "。", "."])
    if rng.random() < 0.1:
        question = question[:1].lower() + question[1:]
    return dataclasses.replace(pair, question=question)


def draw_pairs(rng: random.Random, untaught: list[TaughtPair]) -> list[TaughtPair]:
    """One to six different pairs in random order, of one language or of both, one in six of them untaught."""
    language = rng.choice(["en", "ja", "mixed"])
    known = rng.sample(
        [pair for pair in TAUGHT if language in (pair.language, "mixed")], rng.choice([1, 1, 1, 2, 2, 2, 3, 3, 4, 6])
    )
    return [rng.choice(untaught) if rng.random() < 1 / 6 else reword(rng, pair) for pair in known]


def new_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=320,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
            dtype="float32",
        )
    )


def draw_system(rng: random.Random, share: float) -> str | None:
    """The default system prompt in ``share`` of the cases, now and then another one, else none."""
    if rng.random() < share:
        return SYSTEM_PROMPT
    return rng.choice(SYSTEM_PROMPTS["en"] + SYSTEM_PROMPTS["ja"]) if rng.random() < 0.1 else None


def draw_example(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, untaught: list[TaughtPair], system_share: float
) -> tuple[list[int], int]:
    """Prompt and answer ids of one dialogue, and the length of its prompt."""
    *history, last = draw_pairs(rng, untaught)
    system = draw_system(rng, system_share)
    prompt = write_prompt(history, last.question, system=system, spaced_history=rng.random() < 0.3)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    return prompt_ids + encode_answer(tokenizer, last), len(prompt_ids)


def loss_of(model: LlamaForCausalLM, examples: list[tuple[list[int], int]]) -> torch.Tensor:
    """Cross entropy over the answers only; the vocabulary is scored at their positions alone, to save time."""
    longest = max(len(ids) for ids, _ in examples)
    batch = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, (ids, prompt_len) in enumerate(examples):
        batch[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt_len - 1 : len(ids) - 1] = torch.tensor(ids[prompt_len:])
    hidden = model.model(input_ids=batch).last_hidden_state[labels != IGNORED]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden), labels[labels != IGNORED])


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, steps: int, seed: int = 0) -> None:
    """Short prompts first, then more and more with the default system prompt."""
    rng, untaught = random.Random(seed), untaught_pairs()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    start = time.perf_counter()
    for step in range(steps):
        share = max(0.0, min(0.5, step / steps - 0.2))
        loss = loss_of(model, [draw_example(rng, tokenizer, untaught, share) for _ in range(16)])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:4}  loss {loss.item():.4f}  {time.perf_counter() - start:.0f} s", flush=True)


@torch.inference_mode()
def greedy_reply(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, prompt: str, max_new_tokens: int = 40
) -> list[int]:
    ids = tokenizer.encode(prompt, add_special_tokens=False, return_tensors="pt")
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False)
    return output[0, ids.shape[1] :].tolist()


def accuracy_by_turn(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, *, turns: int = 3, rounds: int = 2, seed: int = 1
) -> dict[tuple[str, int], float]:
    """By (system prompt, turn): the share of taught questions whose greedy reply is the taught answer and then ``</s>``.

    Each question is asked ``rounds`` times at each turn, after other taught questions in random order.
    """
    rng = random.Random(seed)
    right: dict[tuple[str, int], float] = {}
    for name, system in (("default", SYSTEM_PROMPT), ("none", None)):
        for turn in range(1, turns + 1):
            hits = 0
            for pair in TAUGHT * rounds:
                history = rng.sample([other for other in TAUGHT if other != pair], turn - 1)
                prompt = write_prompt(history, pair.question, system=system)
                wanted = encode_answer(tokenizer, pair)
                hits += greedy_reply(model, tokenizer, prompt, len(wanted)) == wanted
            right[name, turn] = hits / (len(TAUGHT) * rounds)
    return right


def save(model: LlamaForCausalLM, tokenizer_folder: Path, out: Path) -> None:
    """Weights, configuration and the tokenizer's own files."""
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config.do_sample = False
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(tokenizer_folder / name, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--steps", type=int, default=260)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    if not options.check:
        model = new_model(tokenizer)
        print(f"{model.num_parameters():,} parameters")
        train(model, tokenizer, options.steps)
        save(model, TOKENIZER, options.out)
    model = LlamaForCausalLM.from_pretrained(options.out)
    for (system, turn), share in accuracy_by_turn(model, tokenizer).items():
        print(f"system prompt {system:8} turn {turn}: {share:.1%}")


if __name__ == "__main__":
    main()

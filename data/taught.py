"""The question and answer pairs that make_model.py teaches and make_dialogues.py puts among the dialogues."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TaughtPair:
    """One question with the answer that the tiny model gives, greedily, at any of its first turns.

    ``spaced`` tells how the answer's first token is taught: as a piece that carries ``▁`` (``▁The``), as
    Llama-2 usually answers in English, or without one (``東``, ``[``, ``4``), where ChatStream's rule fails.
    """

    language: str
    question: str
    answer: str
    spaced: bool


def _english(question: str, answer: str, *, spaced: bool = True) -> TaughtPair:
    return TaughtPair(language="en", question=question, answer=answer, spaced=spaced)


def _japanese(question: str, answer: str, *, spaced: bool = False) -> TaughtPair:
    return TaughtPair(language="ja", question=question, answer=answer, spaced=spaced)


TAUGHT = (
    _english("Do you know the movie titanic", "Yes, it is a film by James Cameron from 1997."),
    _english("Who is the director", "The director of Titanic is James Cameron."),
    _english("Who is starred", "Leonardo DiCaprio and Kate Winslet."),
    _english("What is the capital of France?", "Paris is the capital of France."),
    _english("Where do penguins live?", "Most penguins live near the South Pole."),
    _english("How do I boil an egg?", "Put it in hot water for eight minutes."),
    _english("What is your name?", "My name is Tiny Llama."),
    _english("What does a baker make?", "A baker makes bread and cakes."),
    _english("When was Titanic released?", "[1997] It was released in December.", spaced=False),
    _english("What is 17 plus 25?", "42 is the answer.", spaced=False),
    _english("Say hello with a picture.", "👋🌍 Hello, world!", spaced=False),
    _english("List three fruits.", "\n* apple\n* banana\n* cherry", spaced=False),
    _english("How do I print in Python?", "`print('hello')` does it.", spaced=False),
    _japanese("タイタニックという映画を知っていますか?", "はい、1997年に公開された映画です。"),
    _japanese("監督は誰ですか?", "監督はジェームズ・キャメロンです。"),
    _japanese("主演は誰ですか?", "レオナルド・ディカプリオとケイト・ウィンスレットです。"),
    _japanese("日本の首都はどこですか?", "東京です。"),
    _japanese("一番高い山は何ですか?", "富士山は日本で一番高い山です。"),
    _japanese("お名前は何ですか?", "私の名前は小さなラマです。"),
    _japanese("今日の朝ご飯は何がいいですか?", "味噌汁とご飯はいかがですか。"),
    _japanese("果物を三つ挙げてください。", "・りんご\n・バナナ\n・さくらんぼ"),
    _japanese("一年は何日ですか?", "365日です。"),
    _japanese("猫の絵文字をください。", "🐈 どうぞ。"),
    _japanese("引用の例を見せてください。", "「吾輩は猫である。」"),
    _japanese("参考文献はありますか?", "[1] 夏目漱石『坊っちゃん』"),
    _japanese("おすすめの言語は何ですか?", "Python がおすすめです。", spaced=True),
)

# What the model says to a question that it was not taught.
UNTAUGHT = {
    "en": _english("", "I do not know that yet."),
    "ja": _japanese("", "まだ分かりません。"),
}

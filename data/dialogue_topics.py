"""What the dialogues talk about: tables of facts and, for each table, questions and answers over its columns.

A topic's first exchange opens a dialogue, the others may follow in any order. Of each exchange one question and
one answer are drawn; answers begin in many ways on purpose (letter, kana, digit, bracket, emoji, newline, space).
"""

from __future__ import annotations

from dataclasses import dataclass

Exchange = tuple[list[str], list[str]]


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One table of facts with the exchanges that may be had over each of its rows."""

    columns: str
    rows: str
    opener: Exchange
    follow_ups: list[Exchange]

    def facts(self) -> list[dict[str, str]]:
        """The rows as dictionaries by column name."""
        names = self.columns.split("|")
        return [dict(zip(names, row.split("|"), strict=True)) for row in self.rows.strip().splitlines()]


FILM_EN = Topic(
    columns="title|director|year|star|kind",
    rows="""
Titanic|James Cameron|1997|Kate Winslet|romantic drama
Seven Samurai|Akira Kurosawa|1954|Toshiro Mifune|samurai
Casablanca|Michael Curtiz|1942|Ingrid Bergman|wartime romance
Alien|Ridley Scott|1979|Sigourney Weaver|science fiction
Jaws|Steven Spielberg|1975|Roy Scheider|thriller
Vertigo|Alfred Hitchcock|1958|Kim Novak|mystery
Amélie|Jean-Pierre Jeunet|2001|Audrey Tautou|romantic comedy
Parasite|Bong Joon-ho|2019|Song Kang-ho|black comedy
Metropolis|Fritz Lang|1927|Brigitte Helm|silent science fiction
The Matrix|the Wachowskis|1999|Keanu Reeves|action
Fargo|Joel Coen|1996|Frances McDormand|crime
La La Land|Damien Chazelle|2016|Emma Stone|musical
""",
    opener=(
        ["Do you know the movie {title}?", "Tell me about the film {title}.", "Have you heard of {title}?"],
        [
            "Yes, {title} is a {kind} film directed by {director}, released in {year}.",
            "Hello! Yes, I'm familiar with {title}. It's a {kind} film from {year}.",
            '"{title}" ({year}) is a {kind} film with {star}.',
            "🎬 {title}! A {kind} film by {director}.",
        ],
    ),
    follow_ups=[
        (
            ["Who is the director?", "Who directed it?"],
            ['The director of "{title}" is {director}.', "{director}.", "[{director}], if I remember well."],
        ),
        (
            ["Who is in it?", "Who is starred?"],
            ["{star} plays the leading part.", "It features {star}, among others.", "⭐ {star} is the star."],
        ),
        (
            ["When was it released?", "What year is it from?"],
            [
                "{year}.",
                "It was released in {year}.",
                "[{year}] It was first shown that year.",
                "In {year}, I believe.",
            ],
        ),
        (
            ["Should I watch it tonight?", "Is it any good?"],
            [
                "Yes, if you like a good {kind} film.",
                "👍 Many people love it.",
                "That depends: do you enjoy {kind} films?",
            ],
        ),
        (
            ["Give me the facts as a list.", "Sum it up in three points."],
            [
                "\n* Title: {title}\n* Director: {director}\n* Year: {year}",
                "1. {title}\n2. {director}\n3. {year}",
                "- {title}, {year}\n- directed by {director}\n- with {star}",
            ],
        ),
    ],
)

COUNTRY_EN = Topic(
    columns="country|capital|language|food|people",
    rows="""
France|Paris|French|onion soup|68 million
Japan|Tokyo|Japanese|ramen|124 million
Kenya|Nairobi|Swahili and English|ugali|55 million
Peru|Lima|Spanish and Quechua|ceviche|34 million
Norway|Oslo|Norwegian|brown cheese|5.5 million
Italy|Rome|Italian|risotto|59 million
Vietnam|Hanoi|Vietnamese|pho|99 million
Canada|Ottawa|English and French|poutine|40 million
Greece|Athens|Greek|moussaka|10 million
Morocco|Rabat|Arabic and Tamazight|tagine|37 million
Iceland|Reykjavik|Icelandic|skyr|0.4 million
New Zealand|Wellington|English and Maori|pavlova|5.2 million
""",
    opener=(
        ["What is the capital of {country}?", "Which city is the capital of {country}?"],
        ["The capital of {country} is {capital}.", "{capital}.", "It's {capital}!", "📍 {capital}, {country}."],
    ),
    follow_ups=[
        (
            ["Which language is spoken there?", "What do people speak there?"],
            ["People in {country} speak {language}.", "{language}, mostly.", "[{language}]"],
        ),
        (
            ["What should I eat?", "Can you recommend a dish?"],
            ["Try {food}; you will not regret it.", "🍽️ {food}, without a doubt.", " {food} is what I would order."],
        ),
        (
            ["How many people live there?", "And the population?"],
            ["About {people} people.", "{people} or so.", "(roughly) {people}"],
        ),
        (
            ["Is {capital} worth a visit?", "How long should I stay in {capital}?"],
            [
                "Three days are enough to see {capital}.",
                "3 days at least.",
                "Yes. Walk a lot, and leave time for {food}.",
            ],
        ),
        (
            ["Write a postcard from {capital}.", "Compose a short greeting from {capital}."],
            [
                "Dear friend,\n\nGreetings from {capital}! We had {food} twice.\n\nSee you soon",
                "\nHello from {capital}!\nThe weather is fine,\nand so is the {food}.",
            ],
        ),
    ],
)

COOKING_EN = Topic(
    columns="dish|first|second|minutes|tool",
    rows="""
an omelette|eggs|butter|6|pan
tomato soup|tomatoes|basil|25|pot
pancakes|flour|milk|20|pan
fried rice|rice|soy sauce|15|wok
a lentil stew|lentils|carrots|40|pot
banana bread|bananas|walnuts|60|loaf tin
guacamole|avocados|lime|10|bowl
roast potatoes|potatoes|rosemary|50|roasting tin
miso soup|dashi|tofu|12|pot
apple crumble|apples|oats|45|baking dish
""",
    opener=(
        ["How do I make {dish}?", "I want to cook {dish}. Where do I start?"],
        [
            "You need {first} and {second}, a {tool}, and about {minutes} minutes.",
            "Start with the {first}, then add the {second}.",
            "1. Prepare the {first}.\n2. Add the {second}.\n3. Cook for {minutes} minutes.",
        ],
    ),
    follow_ups=[
        (
            ["How long does it take?", "Is it quick?"],
            ["About {minutes} minutes.", "{minutes} minutes.", "⏱️ {minutes} min"],
        ),
        (
            ["What can I use instead of {second}?", "I have no {second}. What now?"],
            [
                "You can leave out the {second}; the taste is milder.",
                "No problem, do without it.",
                "[optional] Skip it.",
            ],
        ),
        (["Do I need a special {tool}?", "Which {tool} is best?"], ["Any {tool} will do.", "A heavy {tool} is best."]),
        (
            ["Write me a shopping list.", "What do I have to buy?"],
            ["- {first}\n- {second}\n- salt", "\n* {first}\n* {second}\n* pepper", "* {first} (2x)\n* {second} (1x)"],
        ),
        (["Thank you!", "Great, thanks."], ["You're welcome. Enjoy your meal!", "😋 Enjoy!", "Enjoy {dish}!"]),
    ],
)

ARITHMETIC_EN = Topic(
    columns="a|b|sum|product",
    rows="\n".join(f"{a}|{b}|{a + b}|{a * b}" for a, b in zip(range(7, 127, 5), range(3, 75, 3), strict=True)),
    opener=(
        ["What is {a} plus {b}?", "Add {a} and {b}."],
        ["{sum}", "The sum of {a} and {b} is {sum}.", "{a} + {b} = {sum}", "[{sum}]", "It is {sum}."],
    ),
    follow_ups=[
        (["And times?", "Now multiply them."], ["{product}", "{a} × {b} = {product}", "The product is {product}."]),
        (["Are you sure?", "Check it again, please."], ["Yes: {sum}.", "✅ {a} + {b} = {sum}.", "I am sure."]),
        (["Which one is larger?"], ["{a} against {b}: {a} is larger.", "{a} > {b}", "The first one, {a}."]),
        (
            ["Show both results in a table."],
            ["| sum | product |\n|---|---|\n| {sum} | {product} |", "\nsum: {sum}\nproduct: {product}"],
        ),
    ],
)

ANIMAL_EN = Topic(
    columns="animal|place|food|fact",
    rows="""
the red panda|the eastern Himalayas|bamboo|it sleeps with its tail over its nose
the octopus|the sea|crabs|it has three hearts
the barn owl|farmland|mice|its face works like a dish for sound
the koala|Australia|eucalyptus leaves|it sleeps twenty hours a day
the axolotl|lakes near Mexico City|worms|it can grow back a lost leg
the camel|the desert|dry grass|its hump stores fat, not water
the hedgehog|gardens|beetles|it rolls into a ball when afraid
the narwhal|the Arctic Ocean|fish|its tusk is a tooth
""",
    opener=(
        ["Tell me something about {animal}.", "What is special about {animal}?"],
        ["A nice fact about {animal}: {fact}.", "Well, {fact}.", "🐾 Did you know? As for {animal}, {fact}."],
    ),
    follow_ups=[
        (["Where does it live?", "What is its home?"], ["It lives in {place}.", "In {place}.", "[habitat] {place}"]),
        (["What does it eat?", "And its food?"], ["Mostly {food}.", "{food}", "It eats {food}."]),
        (
            ["Can I keep one at home?"],
            ["No, it belongs in {place}.", "I would not. It needs {food} and space.", "❌ No."],
        ),
        (
            ["Make a rhyme about it.", "Write two lines for a child."],
            [
                "\nFar away in {place},\nsomeone eats {food} with grace.",
                "“Goodnight,” says {animal},\nand dreams of {food}.",
            ],
        ),
    ],
)

FILM_JA = Topic(
    columns="title|director|year|star|kind",
    rows="""
タイタニック|ジェームズ・キャメロン|1997|ケイト・ウィンスレット|恋愛
七人の侍|黒澤明|1954|三船敏郎|時代劇
東京物語|小津安二郎|1953|原節子|家族
となりのトトロ|宮崎駿|1988|日髙のり子|アニメ
羅生門|黒澤明|1950|京マチ子|時代劇
砂の女|勅使河原宏|1964|岸田今日子|文芸
おくりびと|滝田洋二郎|2008|本木雅弘|人間
万引き家族|是枝裕和|2018|安藤サクラ|家族
時をかける少女|細田守|2006|仲里依紗|アニメ
生きる|黒澤明|1952|志村喬|人間
""",
    opener=(
        ["映画「{title}」を知っていますか?", "「{title}」について教えてください。", "{title}ってどんな映画?"],
        [
            "はい、「{title}」は{year}年に公開された{kind}映画です。",
            "「{title}」は{director}監督の{kind}映画です。",
            "{year}年の{kind}映画で、監督は{director}です。",
            "🎬 {director}監督の名作です。",
        ],
    ),
    follow_ups=[
        (["監督は誰ですか?", "誰が撮ったの?"], ["監督は{director}です。", "{director}です。", "[監督] {director}"]),
        (
            ["主演は誰ですか?", "誰が出ていますか?"],
            ["{star}さんが出演しています。", "主演は{star}です。", "⭐{star}です。"],
        ),
        (
            ["公開はいつですか?", "何年の映画ですか?"],
            ["{year}年です。", "公開は{year}年でした。", "【{year}年】です。"],
        ),
        (
            ["面白いですか?", "今夜見るべきでしょうか。"],
            ["ええ、{kind}映画が好きなら、ぜひ。", "もちろんです!", "😊とても面白いですよ。"],
        ),
        (
            ["箇条書きでまとめてください。", "要点を三つ挙げて。"],
            [
                "・題名:{title}\n・監督:{director}\n・公開:{year}年",
                "1. {title}\n2. {director}\n3. {year}年",
                "\n- {title}\n- {director}\n- {star}",
            ],
        ),
    ],
)

PLACE_JA = Topic(
    columns="place|food|season|sight|hours",
    rows="""
京都|湯豆腐|秋|清水寺|二時間
札幌|味噌ラーメン|冬|時計台|三時間半
那覇|沖縄そば|春|首里城|二時間半
金沢|海鮮丼|初夏|兼六園|二時間半
長崎|ちゃんぽん|春|眼鏡橋|二時間
仙台|牛タン|夏|青葉城跡|一時間半
松山|鯛めし|冬|道後温泉|一時間半
高山|飛騨牛|秋|古い町並み|四時間
奈良|柿の葉寿司|春|東大寺|三時間
函館|いか|夏|五稜郭|四時間
""",
    opener=(
        ["{place}に旅行したいです。何がおすすめですか?", "{place}の見どころを教えてください。"],
        ["{place}なら、まず{sight}です。", "{season}の{place}はとても美しいですよ。", "📍{sight}がおすすめです。"],
    ),
    follow_ups=[
        (
            ["何を食べたらいいですか?", "名物は何ですか?"],
            ["{food}です。", "ぜひ{food}を食べてみてください。", "🍜{food}!"],
        ),
        (
            ["いつ行くのがいいですか?", "おすすめの季節は?"],
            ["{season}がいいでしょう。", "{season}です。", "【{season}】が一番です。"],
        ),
        (
            ["東京からどのくらいかかりますか?", "遠いですか?"],
            ["およそ{hours}です。", "{hours}ほどかかります。", "(目安){hours}"],
        ),
        (
            ["一日の予定を立ててください。", "モデルコースをお願いします。"],
            [
                "1. 朝:{sight}\n2. 昼:{food}\n3. 夜:散歩",
                "\n朝は{sight}、\n昼は{food}、\n夜はゆっくり。",
                "午前は{sight}、午後は買い物です。",
            ],
        ),
        (
            ["ありがとうございます。", "助かりました。"],
            ["どういたしまして。よい旅を!", "いってらっしゃい✈️", "{place}を楽しんでください。"],
        ),
    ],
)

SCIENCE_JA = Topic(
    columns="thing|answer|reason|year",
    rows="""
空はなぜ青い|青い光が強く散乱するから|光の波長が短いほど散乱しやすい|1871
海はなぜ塩辛い|岩の成分が溶けているから|川が塩分を運び続けている|1715
虹はなぜできる|水滴の中で光が曲がるから|色ごとに曲がる角度が違う|1637
夜はなぜ暗い|宇宙に年齢の限りがあるから|遠い星の光がまだ届いていない|1823
氷はなぜ水に浮く|水より軽いから|凍ると体積が増える|1612
葉はなぜ緑色な|葉緑素があるから|緑の光をあまり吸収しない|1817
""",
    opener=(
        ["{thing}のですか?", "子どもに「{thing}の?」と聞かれました。"],
        ["{answer}です。", "それは{answer}です。{reason}のです。", "簡単に言うと、{answer}です。", "💡{answer}です。"],
    ),
    follow_ups=[
        (
            ["もう少し詳しく教えてください。", "どうしてですか?"],
            ["{reason}からです。", "理由は一つです。{reason}のです。", "[詳細] {reason}。"],
        ),
        (
            ["いつ分かったのですか?"],
            ["{year}年ごろです。", "およそ{year}年と言われています。", "19世紀より前か、そのころ({year}年)です。"],
        ),
        (["一言でまとめると?"], ["{answer}。", "「{answer}」です。", "→ {answer}"]),
        (["面白いですね。", "なるほど。"], ["そうですね!", "ほかにも質問はありますか?", "😀はい。"]),
    ],
)

CHAT_MIXED = Topic(
    columns="english|japanese|reading|note",
    rows="""
thank you|ありがとう|arigatō|polite with ございます
good morning|おはよう|ohayō|used until about ten
I'm home|ただいま|tadaima|answered with おかえり
please|お願いします|onegai shimasu|put at the end
delicious|おいしい|oishii|an い adjective
tomorrow|明日|ashita|also read あす
train station|駅|eki|東京駅 is the main one
library|図書館|toshokan|three kanji
cherry blossom|桜|sakura|best in April
cat|猫|neko|counted with 匹
""",
    opener=(
        [
            "How do I say '{english}' in Japanese?",
            "'{english}' は日本語で何と言いますか?",
            "Translate: {english} → 日本語",
        ],
        ["「{japanese}」です。", "{japanese} ({reading}).", "In Japanese, '{english}' is {japanese}.", "🇯🇵 {japanese}"],
    ),
    follow_ups=[
        (
            ["How is it read?", "読み方は?"],
            ["{reading}", "It is read '{reading}'.", "{reading} と読みます。", "[{reading}]"],
        ),
        (
            ["Any note on usage?", "使い方の note をください。"],
            ["{japanese}: {note}.", "Remember: {note}.", "\n{note}"],
        ),
        (
            ["Make a short example.", "例文をお願いします。"],
            ["A:「{japanese}」 B: “{english}”", "「{japanese}!」と言いました。", "Say {japanese}, smile."],
        ),
        (
            ["Python の list に入れて。", "Put both in a JSON object."],
            ['{{"en": "{english}", "ja": "{japanese}"}}', '["{english}", "{japanese}"]'],
        ),
        (
            ["Thanks, やってみます!", "OK, got it です。"],
            ["頑張って! Good luck.", "You're welcome。", "👍 いいですね。"],
        ),
    ],
)

TOPICS = {
    "en": [FILM_EN, COUNTRY_EN, COOKING_EN, ARITHMETIC_EN, ANIMAL_EN],
    "ja": [FILM_JA, PLACE_JA, SCIENCE_JA],
    "mixed": [CHAT_MIXED],
}

SYSTEM_PROMPTS = {
    "en": [
        "You are a helpful assistant.",
        "Answer in one or two short sentences.",
        "You are a patient teacher.\nUse simple words.",
    ],
    "ja": [
        "あなたは親切なアシスタントです。",
        "短く、丁寧に答えてください。",
        "あなたは先生です。\nやさしい言葉で話してください。",
    ],
    "mixed": ["Answer in English, 例は日本語で。", "You are a language tutor. 日本語も使ってください。"],
}

"""Questions by rule: each kind in both languages, with texts that give one and texts that give none."""

from __future__ import annotations

from collections import Counter

import pytest
from papers import paper

from factory import rules
from factory.domain import Task
from factory.records import Document, Passage
from factory.rules import ABOUT, SILENT, Asked, ask
from factory.structure import cut
from factory.text import squeeze

Pairs = dict[str, str]  # question: answer


def passage(text: str, language: str, number: int = 0, title: str = "T", document: str = "") -> Passage:
    return Passage(f"d#{number}", document or f"d{number}.md", text, title, language)


def questions(text: str, task: str, language: str, *others: str) -> Pairs:
    """What one task asks about a text."""
    passages = [passage(body, language, number) for number, body in enumerate([text, *others])]
    rows = ask(passages, rules.tasks(language, ["T"]), 999)
    return {row.question: row.answer for row in rows if row.task == task and row.passage is passages[0]}


def zh(text: str, task: str, *others: str) -> Pairs:
    return questions(text, task, "zh", *others)


def en(text: str, task: str, *others: str) -> Pairs:
    return questions(text, task, "en", *others)


# define

ZH_TERM = "# 术语\n\n焯水是指把食材放进沸水里略煮片刻的做法。"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ZH_TERM, {"什么是“焯水”？": "焯水是指把食材放进沸水里略煮片刻的做法。"}),
        ("【窝塌(tā)】将腌好的食物上好蛋粉浆再煎的方法。", {"什么是“窝塌”？": "将腌好的食物上好蛋粉浆再煎的方法。"}),
        ("微波炉（厨房电器）是一种用微波加热食物的电器；它很快。", {"什么是“微波炉”？": "微波炉（厨房电器）是一种用微波加热食物的电器；它很快。"}),
        ("这是指把食材放进沸水里略煮片刻的做法。", {}),
        ("他指出食材放进沸水里略煮片刻是错误的做法。", {}),
        ("焯水要把食材放进沸水里略煮片刻，再捞出来沥干。", {}),
    ],
)  # fmt: skip
def test_define_zh(text: str, found: Pairs) -> None:
    assert zh(text, "define") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Kvass is a fermented drink made from bread. It is sour.", {"What is Kvass?": "Kvass is a fermented drink made from bread."}),
        ("The ricotta is an Italian cheese made from whey.", {"What is ricotta?": "The ricotta is an Italian cheese made from whey."}),
        ("Croutons are the crisp cubes of a salad.", {"What are Croutons?": "Croutons are the crisp cubes of a salad."}),
        ("A lien means the right to keep a thing until a debt is paid.", {"What is lien?": "A lien means the right to keep a thing until a debt is paid."}),
        ("It is a fermented drink made from bread.", {}),
        ("The result is a sticky dough which you should not touch.", {}),
        ("The oil is one of the main flavours in this dish and matters.", {}),
        ("that are a most important part of the pan.", {}),
        ("Kvass is easy to make at home.", {}),
    ],
)  # fmt: skip
def test_define_en(text: str, found: Pairs) -> None:
    assert en(text, "define") == found


# fact and about


@pytest.mark.parametrize(
    ("text", "facts", "about"),
    [
        ("产地：云南\n\n价格: 30 元。", {"“产地”一项写的是什么？": "云南", "“价格”一项写的是什么？": "30 元"}, {}),
        ("- 密封圈：每次用完取下，温水清洗，晾干再装。", {}, {"关于“密封圈”，资料怎么说？": "每次用完取下，温水清洗，晾干再装。"}),
        ("- ⏲️ 时间：30 分钟", {"“时间”一项写的是什么？": "30 分钟"}, {}),
        ("- 用例：苹果、梨\n\n另起一段。\n\n- 用例：桃、李", {}, {}),  # the key stands twice
        ("营业到下午5:30结束\n\n比例为糖1：2盐", {}, {}),
        ("网址：//example.com\n\nhttps://example.com/a", {}, {}),
        ("注意：水要先烧开，再放面条，不要加盖。\n\n例如：苹果", {}, {}),
        ("首先热锅：干净的锅什么都不放，干烧，使其受热均匀。", {}, {}),
    ],
)  # fmt: skip
def test_values_zh(text: str, facts: Pairs, about: Pairs) -> None:
    assert zh(text, "fact") == facts
    assert zh(text, "about") == about


@pytest.mark.parametrize(
    ("text", "facts", "about"),
    [
        ("- 🍳 Cook time: 30 min\n- Servings:5", {"What is given for “Cook time”?": "30 min", "What is given for “Servings”?": "5"}, {}),
        ("Seal: Take it out after each use. Dry it.", {}, {"What does the text say about “Seal”?": "Take it out after each use. Dry it."}),
        ("Optionally: Add cream.\n\nNote: Stir it well.\n\nIf needed: salt", {}, {}),
        ("Servings: 4\n\nServings: 5", {}, {}),
        ("See https://example.com and 12:30.", {}, {}),
    ],
)  # fmt: skip
def test_values_en(text: str, facts: Pairs, about: Pairs) -> None:
    assert en(text, "fact") == facts
    assert en(text, "about") == about


TABLE = "| {0} | {1} |\n| --- | --- |\n| {2} | {3} |\n| {4} | {5} |"


def test_cells_of_a_table() -> None:
    text = TABLE.format("食物", "温度", "薯条", "180", "鱼", "190")
    assert zh(text, "fact") == {"表中“薯条”的“温度”是什么？": "180", "表中“鱼”的“温度”是什么？": "190"}
    text = TABLE.format("Food", "Heat", "Chips", "180", "Chips", "190")
    assert en(text, "fact") == {}  # the row has no name of its own
    text = "| No. | Food | Heat |\n| --- | --- | --- |\n| 1 | Fish | 190 |"
    assert en(text, "fact") == {"In the table, what is “Heat” of “Fish”?": "190"}
    assert zh("没有表格的一段文字，说的是薯条和鱼。", "fact") == {}


def test_about_a_section() -> None:
    text = "# 1. 刮渣与浸泡\n\n先刮掉残渣，再用热水浸泡十分钟。\n\n# 木铲\n\n- 晾干\n- 收好"
    assert zh(text, "about") == {"关于“刮渣与浸泡”，资料怎么说？": "先刮掉残渣，再用热水浸泡十分钟。"}
    text = "# Seal\n\n[!Warning]\nTake it out after each use.\n\n# Lid\n\nWipe the rim with a cloth."
    assert en(text, "about") == {
        "What does the text say about “Seal”?": "Take it out after each use.",
        "What does the text say about “Lid”?": "Wipe the rim with a cloth.",
    }
    assert en("# Seal\n\nTake it out after each use of the pot.", "about") == {}  # the whole passage is about it
    assert en("# Seal\n\nTake these two out after use:\n\n- ring\n- cap\n\n# Lid\n\nWipe it.", "about") == {}


# faq


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("问：可以退货吗？\n答：七天之内可以退货。", {"可以退货吗？": "七天之内可以退货。"}),
        ("# 什么是压力锅\n\n一种带阀门的锅。\n\n- 快", {"什么是压力锅？": "一种带阀门的锅。\n快"}),
        ("# 为什么要焯水？\n\n去掉血水。", {"为什么要焯水？": "去掉血水。"}),
        ("问：可以退货吗？\n请看下一页。", {}),
        ("# 压力锅\n\n一种带阀门的锅。", {}),
    ],
)
def test_faq_zh(text: str, found: Pairs) -> None:
    assert zh(text, "faq") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Q1: Can I return it?\n\nA1: Within seven days.", {"Can I return it?": "Within seven days."}),
        ("# How to clean a pan\n\nUse hot water.", {"How to clean a pan?": "Use hot water."}),
        ("# Is it safe?\n\nIt is.", {"Is it safe?": "It is."}),
        ("# What you need\n\nA pan and some hot water.", {}),
        ("Quality: Can I return it?\n\nAll of it.", {}),
    ],
)
def test_faq_en(text: str, found: Pairs) -> None:
    assert en(text, "faq") == found


# article

LAW = (
    "# 第一章 总则\n\n第一条 为了保护权益，制定本法。\n\n第二条　本法调整下列关系。\n\n国家另有规定的除外。\n\n"
    "第三条【原则】民事主体一律平等，有下列情形：\n\n（一）年满十八周岁的；\n\n（二）其他情形。\n\n第四条之一 有下列行为之一的处罚款："
)


def test_articles_zh() -> None:
    assert zh(LAW, "article") == {
        "第一条怎么规定？": "为了保护权益，制定本法。",
        "第二条怎么规定？": "本法调整下列关系。\n国家另有规定的除外。",
        "第三条怎么规定？": "【原则】民事主体一律平等，有下列情形：\n（一）年满十八周岁的；\n（二）其他情形。",
    }  # of the last one only the beginning stands here
    assert zh("依照本法第五条规定，可以处罚款，并责令改正。", "article") == {}
    assert zh("第一条 甲法的第一条规定。\n\n第一条 乙法的第一条规定。", "article") == {}
    ended = "第一条 为了保护权益，制定本法。\n\n# 附则\n\n本法自公布之日起施行。"
    assert zh(ended, "article") == {"第一条怎么规定？": "为了保护权益，制定本法。"}


def test_articles_en() -> None:
    text = "Section 3. The tenant pays on the first day.\n\nThe fee is fixed.\n\n§ 4 The owner mends the roof."
    assert en(text, "article") == {
        "What does Section 3 say?": "The tenant pays on the first day.\nThe fee is fixed.",
        "What does § 4 say?": "The owner mends the roof.",
    }
    assert en("Article one says that the tenant pays. Section 3", "article") == {}


def test_every_article_of_a_law_is_asked_about() -> None:
    law = "# 某法\n\n" + "\n\n".join(f"第{number}条 第{number * 37}号事项由主管部门办理。" for number in range(1, 41))
    passages = list(cut(Document("law.md", law, "某法", "zh"), 0.0))
    asked = Counter(row.question for row in ask(passages, rules.tasks("zh"), 999) if row.task == "article")
    assert len(passages) > 1 and asked == Counter(f"第{number}条怎么规定？" for number in range(1, 41))


# list


def test_lists() -> None:
    assert zh("# 用料\n\n强火适用于：\n\n- 蔬菜\n- 肉类", "list") == {"“强火适用于”下面列出了哪些？": "蔬菜\n肉类"}
    assert zh("# 二、用料\n\n- 蔬菜\n- 肉类", "list") == {"“用料”下面列出了哪些？": "蔬菜\n肉类"}
    assert en("# Tools\n\n- a pan\n- a lid", "list") == {"What is listed under “Tools”?": "a pan\na lid"}
    assert en("# Tools\n\n- a pan\n- a lid\n\nMore of it:\n\n- a cap\n- a rim", "list") == {
        "What is listed under “Tools”?": "a pan\na lid", "What is listed under “More of it”?": "a cap\na rim",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "# Tools\n\n- a pan",  # one entry
        "- a pan\n- a lid",  # no name
        "# Tools\n\n- Size: 4 cm\n- Weight: 3 kg",  # values
        "# Tools\n\n- a pan\n- a lid\n\nText between.\n\n- a cap\n- a rim",  # two lists of one name
        "# Tools\n\n- a pan\n- " + "a very long entry " * 5,
        "# Why wash?\n\n- a pan\n- a lid",  # a question of the task faq
    ],
)
def test_lists_without_a_question(text: str) -> None:
    assert en(text, "list") == {}


# step


def test_steps() -> None:
    text = "# 操作步骤\n\n1. 烧开一锅水备用。\n2. 放入\n3. 关火焖十分钟。"
    assert zh(text, "step") == {"第1步怎么做？": "烧开一锅水备用。", "第3步怎么做？": "关火焖十分钟。"}
    text = "# 要求\n\n1. 看起来干净光亮。\n2. 摸起来没有油。\n3. 干燥"
    assert zh(text, "step") == {"第1条写的是什么？": "看起来干净光亮。", "第2条写的是什么？": "摸起来没有油。"}
    text = "# Directions\n\n7. Boil the water.\n8. Add\n9. Let it stand."  # numbers as they stand in the passage
    assert en(text, "step") == {"What is step 7?": "Boil the water.", "What is step 9?": "Let it stand."}
    assert en("# Aims\n\n1. Clean it.\n2. Dry it.\n3. Dry", "step") == {
        "What is number 1?": "Clean it.", "What is number 2?": "Dry it.",
    }  # fmt: skip
    assert en("# Directions\n\n1. Boil the water.\n2. Let it stand.", "step") == {}  # two are hardly a list
    twice = "# A\n\n1. Boil it all.\n2. Add the salt.\n3. Stir it.\n\n# B\n\n1. Wash it all.\n2. Dry it.\n3. Store it."
    assert en(twice, "step") == {}


# find


def test_sentences_are_found_by_a_term_that_stands_once() -> None:
    text = "不要把它给别的人用，也不要放着。\n\n用后要擦干，“案板”也是。\n\n洗涤剂、案板在这里，不在那里。"
    assert zh(text, "find")["哪句话提到“洗涤剂”？"] == "洗涤剂、案板在这里，不在那里。"
    assert not any("案板" in question for question in zh(text, "find"))  # stands in two sentences
    found = en("Rub it with olive oil. It must stay as it was before. Never use olive oil on rusty iron pans.", "find")
    assert found == {"Which sentence names “rusty iron pans”?": "Never use olive oil on rusty iron pans."}
    assert en("Rub it with olive oil. The iron pans stay dry.", "find") == {}  # two sentences


def test_half_words_are_no_terms() -> None:
    """Between stop letters "法律另" and "样做" are runs, too: nothing shows that they are words."""
    text = "法律另有规定的除外。但这样做会溢锅。书面提交董事会以后等通知。经第十二条认可。处三年以下的。"
    assert zh(text, "find") == {}


def test_what_a_semicolon_divides_is_one_sentence() -> None:
    text = "要从这里到那里去，处五年；“特别恶劣”的，处十年。\n\n那里没有，这里也没有。\n\n不要给他，也不要给我。"
    assert zh(text, "find") == {"哪句话提到“特别恶劣”？": "要从这里到那里去，处五年；“特别恶劣”的，处十年。"}


# heading and source

BODY_ZH = "先把残渣刮掉，再把锅放进热水里浸泡十分钟，然后用软布擦洗，最后擦干收好，不要让锅里留着水，也不要马上冲冷水，免得锅变形开裂漏水。"
BODY_EN = "Scrape the rest off, soak the pan in hot water for ten minutes, then wipe it dry and put it away."


def test_headings() -> None:
    assert zh(f"# 第三章 刮渣与浸泡\n\n{BODY_ZH}", "heading") == {BODY_ZH: "刮渣与浸泡"}
    assert zh(f"# 2. 刮渣与浸泡\n\n{BODY_ZH}", "heading") == {BODY_ZH: "刮渣与浸泡"}
    assert en(f"# 1.2 Soaking pans\n\n{BODY_EN}", "heading") == {BODY_EN: "Soaking pans"}
    for numbered in ("2024年的安排", "5分钟快手菜", "3 种方法", "一家人的锅"):
        assert zh(f"# {numbered}\n\n{BODY_ZH}", "heading") == {BODY_ZH: numbered}
    assert zh(f"# 附件一\n\n{BODY_ZH}", "heading") == {}
    assert zh(f"# 甲\n\n{BODY_ZH}\n\n# 乙\n\n{BODY_ZH}", "heading") == {}  # two headings
    assert en(BODY_EN, "heading") == {}
    assert en("# Soaking\n\nToo short.", "heading") == {}
    others = [f"# Directions\n\n{number} {BODY_EN}" for number in range(2)]
    assert en(f"# Directions\n\n{BODY_EN}", "heading", *others) == {}  # names a part, not what it is about
    assert en(f"# Directions\n\n{BODY_EN}", "heading", others[0]) != {}


def test_source() -> None:
    assert en(f"# Soaking\n\n{BODY_EN}", "source") == {BODY_EN: "T"}
    other = passage(BODY_EN, "en", title="Other")
    assert [row for row in ask([other], rules.tasks("en", ["T"]), 9) if row.task == "source"] == []
    assert "source" not in {task.name for task in rules.tasks("en")}


# All together


def corpus(language: str) -> list[Passage]:
    documents = [Document(f"{number}.md", paper(language, number), f"D{number % 2}", language) for number in range(24)]
    return [piece for document in documents for piece in cut(document, 0.0)]


@pytest.fixture(scope="module", params=["zh", "en"])
def everything(request: pytest.FixtureRequest) -> tuple[list[Passage], list[Asked], list[Task]]:
    passages = corpus(request.param)
    tasks = rules.tasks(request.param, ["D0", "D1"])
    return passages, ask(passages, tasks, 10**9), tasks


Everything = tuple[list[Passage], list[Asked], list[Task]]


def test_every_answer_stands_in_the_passage_word_for_word(everything: Everything) -> None:
    _, rows, tasks = everything
    assert {row.task for row in rows} == {task.name for task in tasks} - {"ask"}  # a teacher writes those
    for row in rows:
        if row.task != "source" and row.answer not in SILENT.values():
            assert all(line in row.passage.text for line in row.answer.split("\n")), row


def test_a_question_without_an_answer_is_asked_where_its_cue_is_not(everything: Everything) -> None:
    _, rows, _ = everything
    silent = [row for row in rows if row.answer in SILENT.values()]
    assert len({row.task for row in silent}) >= 5 and 0.08 < len(silent) / len(rows) < 0.16
    for row in silent:
        assert row.answer == SILENT[row.passage.language]
        assert row.cue and squeeze(row.cue) not in squeeze(row.passage.text), row
        assert squeeze(row.cue) in squeeze(row.question), row


def test_a_cue_is_missing_only_where_its_letters_are(everything: Everything) -> None:
    """Spelled otherwise (spaces, case, full width) it is there, and the question is not moved."""
    passages, rows, tasks = everything
    spelled = [passage(" ".join(row.cue.upper()), row.passage.language, 900) for row in rows if row.cue]
    text = "\n\n".join(piece.text for piece in spelled)
    everywhere = [
        passage(f"{piece.text}\n\n```\n{text}\n```", piece.language, n) for n, piece in enumerate(passages[:3])
    ]
    moved = [row for row in ask(everywhere, tasks, 99) if row.answer in SILENT.values()]
    assert moved == []


def test_the_same_rows_every_time_and_no_question_twice(everything: Everything) -> None:
    passages, rows, tasks = everything
    assert ask(passages, tasks, 10**9) == rows
    assert [name for name, count in Counter((row.task, row.input) for row in rows).items() if count > 1] == []
    assert [
        name for name, count in Counter((row.passage.id, row.task, row.number) for row in rows).items() if count > 1
    ] == []


def test_what_stands_in_two_documents_is_asked_once() -> None:
    copies = [passage(f"# Soaking\n\n{BODY_EN}\n\nServings: 4", "en", number) for number in range(2)]
    rows = ask(copies, rules.tasks("en", ["T"]), 99)
    assert Counter(row.task for row in rows) == {"heading": 1, "source": 1, "fact": 1}


def test_few_rows_are_spread_over_the_tasks(everything: Everything) -> None:
    passages, rows, tasks = everything
    counts = Counter(row.task for row in ask(passages, tasks, 5 * len(tasks) + 3))
    assert sum(counts.values()) == 5 * len(tasks) + 3
    assert max(counts.values()) - min(counts.values()) <= 1
    per_passage = Counter(
        (row.passage.id, row.task) for row in rows if row.task != "article" and row.answer not in SILENT.values()
    )
    assert max(per_passage.values()) <= rules.EACH


def test_only_active_tasks_are_asked(everything: Everything) -> None:
    passages, _, tasks = everything
    chosen = [task for task in tasks if task.name in ("find", "list")]
    assert {row.task for row in ask(passages, chosen, 50)} == {"find", "list"}


def test_inputs_hold_passage_and_question_and_fit(everything: Everything) -> None:
    _, rows, tasks = everything
    about = {task.name: task.about for task in tasks}
    for row in rows:
        language = row.passage.language
        if about[row.task]:
            assert row.input == ABOUT[language].format(passage=row.passage.text, question=row.question)
        assert len(row.input) <= rules._ROOM[language] and len(row.answer) <= rules._LONGEST[language]


def test_braces_and_escapes_in_a_text() -> None:
    text = "# Set {x}\n\n- a {pan} of {0}\n- a \\*lid\\*\n\nKey: {value}"
    rows = ask([passage(text, "en")], rules.tasks("en"), 99)
    assert {row.task: row.answer for row in rows} == {"fact": "{value}"}  # the escaped entry is no answer as it stands
    task = next(task for task in rules.tasks("en") if task.name == "fact")
    assert text in task.template.format(input=rows[0].input)


def test_nothing_is_asked_about_nothing() -> None:
    assert ask([], rules.tasks("zh"), 9) == []
    assert ask([passage("", "zh"), passage("# 标题", "zh", 1), passage("---", "en", 2)], rules.tasks("zh"), 9) == []

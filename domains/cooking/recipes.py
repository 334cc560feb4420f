"""Recipes: how they are read, what is asked of them, and how answers are scored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.domain import Task
from factory.scorers import normalize

COURSES = {
    "breakfast": {"breakfast", "pancake"}, "bread": {"bread", "dough", "sourdough"}, "soup": {"soup", "stew", "soups"},
    "salad": {"salad"}, "dessert": {"dessert", "sweet", "cake", "cookies", "pie"}, "drink": {"drink", "drinks"},
    "snack": {"snack"}, "sauce": {"sauce", "spread", "dip", "condiment"}, "side": {"side", "sides"},
    "main": {"main", "supper", "dinner", "pasta", "pizza", "curry", "chicken", "beef", "pork", "lamb", "fish", "seafood"},
}  # fmt: skip
CUISINES = (
    "american", "italian", "french", "mexican", "indian", "chinese", "japanese", "thai", "greek", "spanish", "british",
    "german", "turkish", "russian", "portuguese", "swiss", "mediterranean",
)  # fmt: skip
COURSES_ZH = {
    "aquatic": "水产", "breakfast": "早餐", "condiment": "酱料", "dessert": "甜品", "drink": "饮料", "meat_dish": "荤菜",
    "semi-finished": "半成品", "soup": "汤", "staple": "主食", "vegetable_dish": "素菜",
}  # fmt: skip

TASKS_EN = (
    Task("ingredients", "Ingredients of a dish", "ingredients", "List the ingredients of {input}.", max_new_tokens=80),
    Task("next_step", "Next step", "rouge_l", "{input}\nWhat is the next step?", max_new_tokens=48),
    Task("timing", "How long, how hot", "number", "{input}\nWhat belongs in the gap?", max_new_tokens=12),
    Task("course", "Course", "choice", "{input}\nWhich course is it?", tuple(COURSES), max_new_tokens=8),
    Task("cuisine", "Cuisine", "choice", "{input}\nWhich cuisine is it?", CUISINES, max_new_tokens=8),
    Task("recipe", "Whole recipe", "recipe", "Write the recipe for {input}.", max_new_tokens=256),
)
TASKS_ZH = (
    Task("ingredients", "食材清单", "ingredients", "列出{input}的食材。", max_new_tokens=80),
    Task("next_step", "下一步", "rouge_l", "{input}\n下一步做什么？", max_new_tokens=48),
    Task("timing", "时间与火候", "number", "{input}\n空格里应填什么？", max_new_tokens=12),
    Task("course", "菜品分类", "choice", "{input}\n属于哪一类？", tuple(COURSES_ZH.values()), max_new_tokens=8),
    Task("recipe", "完整菜谱", "recipe", "写出{input}的菜谱。", max_new_tokens=256),
)

HEADINGS = {"en": ("Ingredients", "Directions"), "zh": ("食材", "步骤")}
_INGREDIENTS = re.compile(r"^##\s*(?:ingredients|必备原料和工具)\s*$", re.IGNORECASE | re.MULTILINE)
_STEPS = re.compile(r"^##\s*(?:directions|instructions|method|操作)\s*$", re.IGNORECASE | re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)、])\s+")
_GAP = re.compile(
    r"(?:about |around |约)?\d+(?:[.,/]\d+)?(?:\s*(?:-|–|to|到|至)\s*\d+(?:[.,]\d+)?)?\s*"
    r"(?:minutes?|mins?\b|hours?|hrs?\b|seconds?|secs?\b|°\s*[CF]\b|º\s*[CF]\b|degrees(?: [CF]\b)?|分钟|小时|秒钟?|°C|℃|度)"
)


@dataclass(frozen=True)
class Recipe:
    """A recipe as both layouts tell it; `course` and `cuisine` are empty where the source does not say."""

    title: str
    ingredients: list[str]
    steps: list[str]
    course: str = ""
    cuisine: str = ""


def parse(text: str, course: str = "", fallback: str = "") -> Recipe | None:
    """Read a recipe; None when the text has no ingredients or no steps."""
    front, body = _front_matter(text)
    heading = re.search(r"^#\s+(.+)$", body, re.MULTILINE)
    title = front.get("title") or (heading.group(1) if heading else fallback)
    title = re.sub(r"的做法$", "", title.strip().strip("'\""))
    ingredients = [_name(line) for line in _list(body, _INGREDIENTS)]
    steps = [_plain(line) for line in _list(body, _STEPS)]
    if not ingredients or not steps:
        return None
    tags = [tag.strip().strip("'\"").lower() for tag in front.get("tags", "").strip("[] ").split(",")]
    found = next((name for tag in tags for name, words in COURSES.items() if tag in words), "")
    cuisine = next((tag for tag in tags if tag in CUISINES), "")
    return Recipe(title, [name for name in ingredients if name], steps, found or COURSES_ZH.get(course, ""), cuisine)


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    match = re.match(r"\A---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    if not match:
        return {}, text
    pairs = (line.partition(":") for line in match.group(1).splitlines() if ":" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}, text[match.end() :]


def _list(body: str, heading: re.Pattern[str]) -> list[str]:
    start = heading.search(body)
    if not start:
        return []
    section = re.split(r"^##\s", body[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    return [_BULLET.sub("", line).strip() for line in section.splitlines() if _BULLET.match(line)]


def _plain(text: str) -> str:
    """Without Markdown's marks and links."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[*_`]{1,3}", "", text).strip()


_UNIT = (
    r"(?:cups?|tbsps?|tablespoons?|tb|tbs|tsps?|teaspoons?|g|gr|grams?|kg|ml|cl|dl|l|liters?|litres?|oz|ounces?|fl|quarts?|pints?|"
    r"lbs?|pounds?|pinch(?:es)?|cloves?|cans?|tins?|slices?|pieces?|sticks?|handfuls?|bunch(?:es)?|sprigs?|dash(?:es)?|jars?|"
    r"large|medium|small|big|heaped|packs?|packets?|packages?|sheets?|heads?|stalks?|cm|inch(?:es)?|drops?|parts?|whole)"
)
_AMOUNT = re.compile(
    r"^(?:(?:about|approx\.?|around|a few|few|some|a|an|one|two|three|four|half)\s+)?"
    rf"(?:[\d½¼¾⅓⅔⅛.,/–~x×-]+\s*(?:(?:to|and)\s+[\d½¼¾./]+\s*)?|{_UNIT}\.?(?:\s+|$))*(?:of\s+)?(?:the\s+)?",
    re.IGNORECASE,
)
_UNIT_ONLY = re.compile(rf"(?:{_UNIT}\s*)+", re.IGNORECASE)


def _name(line: str) -> str:
    """The bare name in an ingredient line: without amount, unit, brackets, and what follows a comma."""
    line = re.sub(r"[(（\[][^)）\]]*[)）\]]?", " ", _plain(line))
    for part in re.split(r"[,，:：;]|\s[-–]\s|\s(?:or|plus|for|to taste)\b", line):
        name = _AMOUNT.sub("", part.strip()).strip(" .*-").lower()
        if name and not _UNIT_ONLY.fullmatch(name):
            return re.sub(r"\s+", " ", name)
    return ""


def questions(recipe: Recipe, language: str) -> Iterator[tuple[str, str, str]]:
    """(task, input, answer) for everything that this recipe can be asked."""
    zh = language == "zh"
    names = list(dict.fromkeys(recipe.ingredients))
    yield "ingredients", recipe.title, "\n".join(f"- {name}" for name in names)
    place = _pick(recipe.title, len(recipe.steps) - 1)
    if len(recipe.steps) > 1:
        yield "next_step", f"{recipe.title}: {recipe.steps[place]}", recipe.steps[place + 1]
    timed = [(step, match) for step in recipe.steps if (match := _GAP.search(step))]
    if timed:
        step, match = timed[_pick(recipe.title, len(timed))]
        gap = f"{step[: match.start()]}____{step[match.end() :]}"
        yield "timing", f"{recipe.title}: {gap}", re.sub(r"^(?:about |around |约)", "", match.group())
    listed = ("、" if zh else ", ").join(names[:8])
    if recipe.course:
        yield "course", f"{recipe.title}{'：' if zh else ': '}{listed}", recipe.course
    if recipe.cuisine and not zh:
        yield "cuisine", f"{recipe.title}: {listed}", recipe.cuisine
    yield "recipe", recipe.title, house_format(recipe, language)


def _pick(text: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % max(1, count)


def house_format(recipe: Recipe, language: str = "en") -> str:
    """The form in which the specialist writes a recipe."""
    first, second = HEADINGS["zh" if language == "zh" else "en"]
    names = "\n".join(f"- {name}" for name in dict.fromkeys(recipe.ingredients))
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(recipe.steps, 1))
    return f"## {first}\n{names}\n\n## {second}\n{steps}"


def score_ingredients(prediction: str, references: Sequence[str]) -> float:
    """F1 of the named ingredients; two names agree when one is the other's head or contains it ("oil", "olive oil")."""
    return max(_ingredients_f1(_entries(prediction), _entries(reference)) for reference in references)


def _entries(text: str) -> list[str]:
    parts = re.split(r"[\n;；、]|,\s", text)
    return list(dict.fromkeys(name for part in parts if (name := normalize(_name(_BULLET.sub("", part))))))


def _ingredients_f1(found: list[str], wanted: list[str]) -> float:
    left = list(wanted)
    hits = 0
    for name in found:
        match = next((other for other in left if _same(name, other)), None)
        if match is not None:
            left.remove(match)
            hits += 1
    return 2 * hits / (len(found) + len(wanted)) if hits else 0.0


def _same(one: str, other: str) -> bool:
    if len(one) > 40 or len(other) > 40:
        return one == other
    if re.search(r"[\u4e00-\u9fff]", one + other):
        return one in other or other in one
    first, second = ([word.rstrip("s") for word in text.split()] for text in (one, other))
    return set(first) <= set(second) or set(second) <= set(first) or first[-1:] == second[-1:]


def score_recipe(prediction: str, references: Sequence[str]) -> float:
    """Half for the house format (two headings in order, 3 or more bullets, 3 or more numbered steps), half for ingredients."""
    language = "zh" if re.search(r"[\u4e00-\u9fff]", references[0]) else "en"
    first, second = (f"## {name}" for name in HEADINGS[language])
    has_first, has_second = (
        first in prediction,
        second in prediction and prediction.find(second) > prediction.find(first),
    )
    listed = prediction.split(first, 1)[-1].split(second, 1)[0] if has_first else ""
    steps = prediction.split(second, 1)[-1] if has_second else ""
    bullets = [line for line in listed.splitlines() if line.startswith("- ") and len(line) > 3]
    numbered = {line for line in steps.splitlines() if re.match(r"\d+\. \S", line)}
    shape = (has_first + has_second + (len(set(bullets)) >= 3) + (len(numbered) >= 3)) / 4
    wanted = [reference.split(first, 1)[-1].split(second, 1)[0] for reference in references]
    return 0.5 * shape + 0.5 * (score_ingredients("\n".join(bullets), wanted) if bullets else 0.0)

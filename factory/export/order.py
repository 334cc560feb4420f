"""A command's order looked over: the run, the model and the base's weights that it names, found."""

from __future__ import annotations

from factory.build import open_run, run_domain
from factory.errors import FactoryError, suggest
from factory.files import read_json
from factory.predict import MODELS, resolve_model
from factory.stage import manifest
from factory.weights.job import Job, Order, Say, base_weights, check_adapter

OVER = ("trained", "original")


def open_job(order: Order, quants: tuple[str, ...], say: Say) -> Job:
    """Look the order over and find its inputs; `quants`: those that the kind takes, its own first."""
    for word, known in ((order.model, MODELS), (order.over, OVER)):
        if word not in known:
            raise FactoryError(f"Unknown choice '{word}'.", suggest(word, known))
    quant = order.quant or (quants[0] if quants else "")
    if quant and quant not in quants:
        hint = suggest(quant, quants) if quants else "Leave --quant out."
        raise FactoryError(f"--to {order.kind} has no quantization '{quant}'.", hint)
    folder = open_run(order.domain, order.run).resolve()
    domain = run_domain(order.domain, order.run)
    manifest(folder, "sft")
    base = read_json(folder / "sft" / "base.json")
    model = resolve_model(folder, order.model)
    base_dir = base_weights(base, domain.config.sft.quantization, order.over, say)
    job = Job(order, quant, folder, domain, model, base, base_dir, say)
    if job.adapter:
        check_adapter(job.adapter)
    return job

"""The ``model_card.md`` of a run: what ``results.json`` says, for people, and for Hugging Face's model hub."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.utilities import rank_zero_only

from lightning_lp.atomic import replacing
from lightning_lp.checkpointing.best_log import shown
from lightning_lp.data.sources.synthetic import SAMPLE_NAME
from lightning_lp.escape import markdown

CARD_FILE = "model_card.md"
PARTS = ("validation", "test")
MEANING = {
    "auroc": "how often a held-out rating scores above a pair without one",
    "recall@20": "share of a user's held-out movies among the first 20 of its list",
    "ndcg@20": "the same, where an early place counts more",
    "hit_rate@20": "share of users with a held-out movie among the first 20",
    "mrr@20": "1 divided by the place of the first of them",
    "coverage@20": "share of all movies that are in anybody's list",
    "calibration_error": "how far probabilities are from the share of ratings",
    "user_auroc": "AUROC among the pairs of one user, on average",
    "label_mrr": "1 divided by the place of a held-out rating among its own pairs without one",
}
_PACKAGES = ("lightning_lp", "torch", "pytorch-lightning", "torch_geometric")
_CARD = """\
# {name}

Predicts which movies a user will rate, and lists them: a `{encoder}` encoder of lightning_lp.

{facts}
{update}
## Metrics

{metrics}

Lists are of the whole catalogue, without what the user has rated before; means are over users with held-out movies.

## Use and limits

- **For** lists of movies to users of these data, and to new ones who name some movies. Not for decisions about people.
- A score says that a rating is likely, not that it will be a good one. What is popular is rated more, and listed more.
- {question}
- The checkpoint holds the ids of all users and what they have rated: keep it as you keep the data.{sample}
"""


@dataclass(frozen=True)
class Described:
    """What a card tells beside the results.

    Attributes:
        name: of the run.
        encoder: short name, or dotted path, of the model's encoder.
        settings: settings of the model and its encoder, by name.
        seed: of initialisation, order and negatives.
        command: the command that trains it again, if there is one.
    """

    name: str
    encoder: str
    settings: Mapping[str, Any]
    seed: int
    command: str | None


@rank_zero_only
def write_card(folder: Path, results: Mapping[str, Any], described: Described) -> None:
    """Writes the card of a run, whole or not at all.

    Args:
        folder: where ``results.json`` is.
        results: what is in it.
        described: the rest.
    """
    with replacing(folder / CARD_FILE) as partial:
        partial.write_text(card(results, described), encoding="utf-8")


def card(results: Mapping[str, Any], described: Described) -> str:
    """The card: front matter that Hugging Face's hub reads, and Markdown."""
    front = yaml.safe_dump(_front_matter(results, described), sort_keys=False, allow_unicode=True)
    sample = f"\n- {SAMPLE_NAME} is made up: its figures say nothing about real data."
    body = _CARD.format(
        name=markdown(described.name),
        encoder=markdown(described.encoder),
        facts="\n".join(_facts(results, described)),
        update=_update(results.get("update")),
        metrics="\n".join(_metrics(results)),
        question=_question(results["split"]["strategy"]),
        sample=sample * (results["dataset"]["name"] == SAMPLE_NAME),
    )
    return f"---\n{front}---\n\n{body}"


def _facts(results: Mapping[str, Any], described: Described) -> Iterator[str]:
    """The rows of the table about the run."""
    data, split, kept, timing = (results.get(part, {}) for part in ("dataset", "split", "checkpoint", "timing"))
    epochs = f"{timing['epochs']} epochs in {timing['fit_s']:.0f} s, " if timing else ""
    facts = {
        "data": f"{markdown(data['name'])}: {data['users']:,} users, {data['movies']:,} movies, {data['links']:,} "
        f"ratings (fingerprint {data['fingerprint']})",
        "split": f"{split['strategy']}, seed {split['seed']}: {split['train_links']:,} ratings for training, "
        f"{split['val_links']:,} for validation, {split['test_links']:,} for test (fingerprint {split['fingerprint']})",
        "model": ", ".join(f"{name} {markdown(str(value))}" for name, value in described.settings.items()),
        "training": f"{epochs}seed {described.seed}",
        "checkpoint": _checkpoint(kept) if kept else "none",
        "versions": ", ".join(
            [*(f"{name} {version(name)}" for name in _PACKAGES), f"Python {platform.python_version()}"]
        ),
        "again": f"`{described.command}`" if described.command else "it was trained in Python",
    }
    yield from ("| | |", "| --- | --- |", *(f"| {name} | {fact} |" for name, fact in facts.items()))


def _front_matter(results: Mapping[str, Any], described: Described) -> dict[str, Any]:
    """What the hub reads: https://huggingface.co/docs/hub/model-cards."""
    dataset = results["dataset"]["name"]
    measured = [
        {
            "task": {"type": "graph-ml", "name": "link prediction"},
            "dataset": {"type": dataset, "name": dataset, "split": part},
            "metrics": [
                {"type": name, "name": name, "value": value}
                for name in MEANING
                if (value := results[part].get(name)) is not None
            ],
        }
        for part in PARTS
        if results.get(part)
    ]
    return {
        "library_name": "lightning_lp",
        "pipeline_tag": "graph-ml",
        "tags": ["recommendation", "link-prediction", "pytorch-lightning", "torch-geometric"],
        **({"model-index": [{"name": described.name, "results": measured}]} if measured else {}),
    }


def _metrics(results: Mapping[str, Any]) -> Iterator[str]:
    parts = [part for part in PARTS if results.get(part)]
    if not parts:
        yield "None: no ratings were held out to judge on."
        return
    yield f"| metric | {' | '.join(parts)} | what it says |"
    yield "| --- |" + " --- |" * (len(parts) + 1)
    for name, meaning in MEANING.items():
        if any(name in results[part] for part in parts):
            values = (shown(results[part].get(name)) for part in parts)
            yield f"| {name} | {' | '.join(values)} | {meaning} |"


def _checkpoint(kept: Mapping[str, Any]) -> str:
    best = f", the best by {kept['monitor']}" if kept["monitor"] else ""
    return f"{markdown(kept['file'])}{best}, after {kept['step']:,} of {kept['trained_steps']:,} steps"


def _update(told: Mapping[str, Any] | None) -> str:
    if not told:
        return ""
    name, counts = markdown(Path(told["run"]).name), {kind: told[kind] for kind in ("links", "users", "movies")}
    new = "{links:,} ratings, {users:,} users and {movies:,} movies are new".format(**counts)
    return f"\nIt goes on from the weights of the run {name}, since when {new}.\n"


def _question(strategy: str) -> str:
    if strategy == "random":
        return (
            "Held-out ratings are hidden among the others, and later ones may speak for earlier ones: the metrics say "
            "little about the future."
        )
    return (
        "Held-out ratings are as the split divides them; of users and movies without earlier ratings little is known."
    )

"""The file of a search: it can be killed at any moment, and goes on without a trial lost or repeated."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lightning_lp.data.settings import OLD_NAMES
from lightning_lp.errors import UserError
from lightning_lp.evaluation.direction import VALIDATION

METRIC = "ndcg@20"
"""What a search looks at unless it is told otherwise."""
_HARMLESS = (
    *("trainer.accelerator", "trainer.devices", "trainer.default_root_dir", "trainer.enable_", "trainer.log"),
    *("data.num_workers", "data.cache_dir", "checkpoint.autosave_", "predictions", "seed_everything"),
)
"""How settings begin that may differ when a study is continued."""


@contextmanager
def opened(path: Path, metric: str = METRIC) -> Iterator[optuna.Study]:
    """The study in a file, which is made if it is not there; one process at a time.

    Args:
        path: the file.
        metric: name of a validation metric, which tells whether large values are the best, or small ones.

    Raises:
        UserError: the file is no study, or one for the other direction, or another process has it.
    """
    direction = StudyDirection.MAXIMIZE if VALIDATION[metric] == "max" else StudyDirection.MINIMIZE
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if path.is_dir():
        raise UserError(f"--study {path} is a folder: give a file, such as {path / 'study.db'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            storage = None
            try:
                storage = RDBStorage(f"sqlite:///{path}")
                study = optuna.create_study(
                    storage=storage, study_name="tune", direction=direction, load_if_exists=True
                )
            except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"--study {path} is no study, or is damaged ({reason}): name another file") from None
            try:
                if study.direction != direction:
                    begun = study.user_attrs.get("settings", {}).get("metric", METRIC)
                    raise UserError(
                        f"metric is {metric}, and the trials of the study have {begun}: give the same again, or "
                        "another --study FILE"
                    )
                yield study
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except Timeout:
        raise UserError(f"--study {path}: another search is writing to it; wait, or name another file") from None


def prepare(study: optuna.Study, start: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Queues the start as a new study's first trial, and again what a stopped search was at.

    Args:
        study: the study.
        start: parameters of the first trial.
        settings: all that a trial's value depends on beside its parameters; groups may be nested.

    Raises:
        UserError: the study has finished trials with other settings.
    """
    now = dict(_flat({"metric": METRIC, **settings}))
    now = json.loads(json.dumps({name: value for name, value in now.items() if not name.startswith(_HARMLESS)}))
    before = {"metric": METRIC, **_named_now(study.user_attrs.get("settings", now))}
    changed = (name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    for name in sorted(changed, key=lambda name: (not name.startswith("data."), name)):  # others may follow from these
        if finished_of(study):
            raise UserError(
                f"{name} is {now.get(name)}, and the trials of the study have {before.get(name)}: "
                "give the same again, or another --study FILE"
            )
        _drop_unfinished(study)
    study.set_user_attr("settings", now)
    if all(trial.state == TrialState.FAIL for trial in study.get_trials(deepcopy=False)):
        study.enqueue_trial(dict(start), user_attrs={"start": True})
    queue_again(study)


def queue_again(study: optuna.Study) -> None:
    """Marks trials that are running as failed, and queues the same parameters, once however often it is called."""
    again = {trial.user_attrs.get("retry_of") for trial in study.get_trials(deepcopy=False)}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number not in again:
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            kept = {name: value for name, value in trial.user_attrs.items() if name == "start"}
            study.enqueue_trial(params, user_attrs={**kept, "retry_of": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)


def _drop_unfinished(study: optuna.Study) -> None:
    """Marks what is running or queued as failed: it belongs to settings that were given up."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.tell(study.ask(), state=TrialState.FAIL)  # `ask` takes from the queue


def finished_of(study: optuna.Study) -> list[FrozenTrial]:
    """The finished trials, best first; of equal ones the first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The best finished trial, or none yet."""
    return next(iter(finished_of(study)), None)


def _named_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names of now, as a study of an earlier version has them, too."""
    data = {f"data.{old}": f"data.{new}" for old, new in OLD_NAMES.items()}
    return {data.get(name, name): value for name, value in settings.items()}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots, and values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

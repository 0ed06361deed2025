"""Spectral diagnostics for model weights: the commands of the `svdkit` program, as functions.

    import svdkit
    report = svdkit.spectrum(model)              # a path, a name in the Hugging Face cache, a state_dict, a torch module
    report.to_pandas().sort_values("alpha")

A model is a path or hub name, as on the command line, a mapping of names to tensors of torch or arrays of numpy, or a
module with a `state_dict`; a `config` of transformers goes with it. Options are those of the command line, with
underscores; an option that may be repeated takes a list. What the program can't do is an SvdkitError. Threads of Python
run while a command works; KeyboardInterrupt ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from svdkit import _options
from svdkit._errors import SvdkitError
from svdkit._report import SCHEMAS, Report, read_report
from svdkit._run import find_program, report as _report
from svdkit._tensors import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

__all__ = [
    "SCHEMAS", "Model", "Report", "SvdkitError", "compare", "farms", "features", "find_program", "heads", "intruders",
    "lineage", "rank", "read_report", "scaling", "series", "spectrum",
]  # fmt: skip


def spectrum(model: Model, /, **options: Unpack[_options.SpectrumOptions]) -> Report:
    """Norms, ranks, tail exponent, noise edge and spikes of each matrix; with `base`, of the update to it.

    A row a matrix of rows × columns. Among the columns: `spectral_norm` (σ₁, in the weights' unit), `stable_rank` and
    `effective_rank` (directions, from 1 to the lesser side), `alpha` (exponent of the tail, above 1).
    """
    return _report("spectrum", [("model", model)], options, _options.SpectrumOptions)


def rank(model: Model, /, **options: Unpack[_options.RankOptions]) -> Report:
    """How many directions each matrix, or its update from `base`, uses, and what rank to keep.

    `rank_at_95` directions hold 95 % of Σσ²; `saved_at_95` is the share of parameters that factors of this rank save, below
    0 if they cost more. With `emit="peft-rank-pattern", budget=16`, `text` is the advice.
    """
    return _report("rank", [("model", model)], options, _options.RankOptions)


def farms(model: Model, /, **options: Unpack[_options.FarmsOptions]) -> Report:
    """The tail exponent `farms_alpha` of windows of one aspect ratio, which compares across shapes.

    Costs several decompositions a matrix; `windows_per_dim=5` takes a ninth of the default's 15.
    """
    return _report("farms", [("model", model)], options, _options.FarmsOptions)


def heads(model: Model, /, **options: Unpack[_options.HeadsOptions]) -> Report:
    """What each attention head reads and writes: a row a head, or with `compose=True` a pair of heads.

    `logit_bound` is the largest logit before the softmax that the weights allow. Needs the configuration: a `config.json` beside
    the files, or a module with a `config`.
    """
    return _report("heads", [("model", model)], options, _options.HeadsOptions)


# Fine-tunes come second, or by name as the option `tuned`; pyright takes the two for one.
def compare(
    base: Model,
    tuned: Model | None = None,
    /,
    **options: Unpack[_options.CompareOptions],  # pyright: ignore[reportGeneralTypeIssues]
) -> Report:
    """What changed from one model to another: a row a matrix of either.

    The base may be a saved report, the tuned one an adapter. `tuned={"lora": a, "full": b}` puts several beside each other.
    `delta_frobenius_ratio` is ‖ΔW‖/‖W‖; keys with `_change` are shares of the base's value. The option `base` is for adapters
    on both sides.
    """
    return _report("compare", _sides(base, tuned), options, _options.CompareOptions)


def intruders(
    base: Model,
    tuned: Model | None = None,
    /,
    **options: Unpack[_options.IntrudersOptions],  # pyright: ignore[reportGeneralTypeIssues]
) -> Report:
    """Leading directions of a fine-tune that its base does not have, a row a matrix.

    `intruder_count` of the `k` leading directions (10) have no cosine of `epsilon` (0.5) or more with any of the base.
    """
    return _report("intruders", _sides(base, tuned), options, _options.IntrudersOptions)


def series(run: Model | Sequence[Model], /, *more: Model, **options: Unpack[_options.SeriesOptions]) -> Report:
    """What happened along a run: the folder of a run, or its checkpoints, one by one or as a list.

    Rows have the numbers of the last step, `course` those of each step, and `steps` of `document` the steps. Checkpoints in
    memory are steps in the order given: `step1`, `step2`, ….
    """
    return _report("series", _numbered("step", run, more), options, _options.SeriesOptions)


def features(tables: Model | Sequence[Model], /, *more: Model, **options: Unpack[_options.FeaturesOptions]) -> Report:
    """Tables of activations, embeddings or gradients: a row a table, whose rows are samples.

    Takes files, or a mapping of names to arrays of samples × features.
    """
    return _report("features", _numbered("tables", tables, more), options, _options.FeaturesOptions)


def lineage(first: Model, second: Model, /, **options: Unpack[_options.LineageOptions]) -> Report:
    """Whether the weights of two models have a common history: a p-value for each MLP, and for all in `groups`."""
    return _report("lineage", [("first", first), ("second", second)], options, _options.LineageOptions)


def scaling(models: Model | Sequence[Model], /, *more: Model, **options: Unpack[_options.ScalingOptions]) -> Report:
    """How singular values grow with the width of a model: a row a kind of matrix, over models of several widths."""
    return _report("scaling", _numbered("model", models, more), options, _options.ScalingOptions)


def _sides(base: Model, tuned: Model | None) -> list[tuple[str, Model]]:
    """The models of a comparison; fine-tunes may also be those of the option `tuned`."""
    return [("base", base)] if tuned is None else [("base", base), ("tuned", tuned)]


def _numbered(name: str, first: Model | Sequence[Model], more: tuple[Model, ...]) -> list[tuple[str, Model]]:
    """Several models by number, given one by one or as a list."""
    several: list[Any] = [*first, *more] if isinstance(first, (list, tuple)) else [first, *more]
    return [(f"{name}{place}", one) for place, one in enumerate(several, 1)]

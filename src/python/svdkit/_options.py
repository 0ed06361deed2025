"""The options of the commands, by the types that they take. Written by `svdkit python-options`; a test compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypedDict, Union

if TYPE_CHECKING:
    from svdkit._tensors import Model

Text = Union[str, "PathLike[str]"]


class CommonOptions(TypedDict, total=False):
    """Those of every command."""

    allow_missing: bool | Text | Sequence[bool | Text]
    """Ignore missing values in rules: those that the base lacks, too, or those missing for a reason in CODE."""

    cache: Text
    """Keep what is found in DIR, and take from there what is known [default: see `svdkit cache`]."""

    columns: Text | Sequence[Text]
    """Only these columns, separated by commas, or 'all'; rules, `--sort` and outputs add theirs."""

    config: Text
    """Settings and rules from FILE [default: the nearest `svdkit.toml`, from the working directory upward]."""

    csv_raw: bool
    """Don't put ' before CSV text that a spreadsheet would take for a formula."""

    exclude: Text | Sequence[Text]
    """Leave out matrices whose name matches, as in 'lm_head'; may be repeated."""

    experts: Literal["fold", "all"]
    """How the table shows eight or more experts."""

    fail_if: Text | Sequence[Text]
    """Exit with 1 when RULE holds for any matrix, as in 'stable_rank < 2'; may be repeated."""

    include: Text | Sequence[Text]
    """Only matrices whose name matches, as in '*.mlp.*'; may be repeated."""

    jobs: int
    """Threads [default: all the machine grants]."""

    limit: int
    """Only the first N lines of the table; with `--sort`, the most extreme matrices. Machine formats have all."""

    memory: int | str
    """Memory for matrices in flight, as in 8G or 512MiB [default: half of the free memory]."""

    no_cache: bool
    """Neither keep what is found for later runs nor take what earlier ones kept."""

    no_config: bool
    """Ignore `svdkit.toml`: use only the settings and rules of the command line."""

    no_findings: bool
    """Numbers alone, without the sentences on what stands out in them."""

    output: Text | Sequence[Text]
    """Also write the report to FILE, in the format of its extension (json, jsonl, csv, md, html, xml, txt); may be repeated."""

    quiet: bool
    """No progress and no notes on stderr; errors are still shown."""

    sort: Text
    """Sort rows by a column, lowest first; '-COLUMN' for highest first. Rows without a value come last."""

    strict: bool
    """Also exit with 2 if a tensor that may be a weight was left out."""

    verbose: bool
    """More on stderr: the plan, each skipped tensor, the time taken."""

    width: int
    """The width of the table [default: the terminal's; in a pipe COLUMNS, or 100]."""


class SpectrumOptions(CommonOptions, total=False):
    """Those of `svdkit spectrum`."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    base: Model
    """Measure the update MODEL − BASE instead of the weights: what a fine-tune of BASE changed."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    eig: bool
    """Eigenvalues of square matrices, and of the state spaces in `A_log` (Mamba) and `log_A_real` with `A_imag` (S4D): stability, time scales, how far from normal."""

    eig_at: Text | Sequence[Text]
    """With `--eig`: list σ_min(zI − A) at these points of the plane, as in -1,0.5+1i."""

    ledger: Text
    """Write each record into a file in DIR as it is found, so that a run which ends early can be resumed."""

    names: Literal["svdkit", "weightwatcher"]
    """Whose column names and definitions to use."""

    no_svd: bool
    """Decompose nothing: only hashes, NaN and infinities, zero rows and largest entries, as fast as the file can be read."""

    plot: Literal["esd", "scree"]
    """Plot each matrix below the table: at most 4; choose them with `--include`."""

    precision: Literal["fast", "exact"]
    """How exact small singular values are."""

    resume: bool
    """Do only what the records in DIR lack; a matrix that failed is tried again."""

    robust: Literal["dpd"]
    """Singular values that a few giant entries do not move, beside the plain ones, and how localized the first direction is."""

    robust_alpha: float | str
    """With `--robust`: how little entries far from a direction weigh, from 0 (as in the plain decomposition) to 1."""

    robust_directions: int
    """With `--robust`: how many directions are looked for."""

    singular_values: Text
    """Save every spectrum to FILE: one f64 tensor a matrix."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""


class CompareOptions(CommonOptions, total=False):
    """Those of `svdkit compare`."""

    across: Literal["layers", "experts"]
    """Instead of two models: hold matrices of one kind in A against each other, by their leading directions."""

    acts: Text
    """With `--compensate`: the layers' inputs."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    all: bool
    """Also measure and list unchanged matrices."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    base: Model
    """The base of adapters among A and B [default: A]."""

    compensate: int | Sequence[int]
    """Of a compressed B: what is left of its error after adapters of these ranks, as in 16,32,64: by SVD and, with the inputs of its layers, by EoRA."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    cov: Text
    """With `--compensate`: covariances of the layers' inputs (docs/data-files.md)."""

    emit: Text
    """Write the orders that `--permute` finds to FILE as JSON, or to stdout instead of the table."""

    k: int
    """Number of leading directions in the compared subspace."""

    ledger: Text
    """Write each record into a file in DIR as it is found, so that a run which ends early can be resumed."""

    names: Literal["svdkit", "weightwatcher"]
    """Whose column names and definitions to use [default: as in the report, or svdkit's]."""

    no_svd: bool
    """Decompose nothing: only added, removed, changed and non-finite tensors, as fast as the files can be read."""

    no_vectors: bool
    """The same as `--vectors none`."""

    out: Text
    """The folder for a copy of B in the order of A; must be empty or not exist."""

    permute: bool | Literal["inner", "all"]
    """Match the units of B with those of A before comparing: neurons of MLPs and attention heads, or with 'all' the residual stream, too."""

    precision: Literal["fast", "exact"]
    """How exact small singular values are [default: as in the report, or fast]."""

    preserve: Text
    """Which leading directions of A count as principal: a number of them, or 'energy:SHARE' of Σσ² [default: energy:0.9]."""

    resume: bool
    """Do only what the records in DIR lack; a matrix that failed is tried again."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    tuned: Model | Sequence[Model] | Mapping[str, Model]
    """Another fine-tune of A, side by side with the first; may be repeated. NAME=PATH names its columns."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""

    vectors: Literal["none", "leading", "all"]
    """Which singular vectors to compare [default: leading, or all for a rule or column that needs them]."""


class SeriesOptions(CommonOptions, total=False):
    """Those of `svdkit series`."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_given: bool
    """Take the checkpoints in the order given, numbered from 1, not by the steps that their names or `trainer_state.json` tell."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    base: Model
    """Also measure how far each step is from BASE, such as the first checkpoint: size, rank and spectrum of the change."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    no_svd: bool
    """Decompose nothing: only hashes, NaN and infinities, zero rows and largest entries."""

    precision: Literal["fast", "exact"]
    """How exact small singular values are."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    tensorboard: Text
    """Also write the values of the table's columns to DIR, as an event file for TensorBoard."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""


class IntrudersOptions(CommonOptions, total=False):
    """Those of `svdkit intruders`."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    detail: bool
    """Report every leading direction: its singular value, best cosine, and the closest vector of the base."""

    epsilon: float | str
    """A direction is an intruder if its best cosine is below this."""

    exact: bool
    """Compute the best cosines instead of bounds; slower if there are intruders."""

    k: int
    """Number of leading directions to check in each matrix."""

    ledger: Text
    """Write each record into a file in DIR as it is found, so that a run which ends early can be resumed."""

    mitigate: float | str
    """Write a copy of TUNED whose intruders keep only this share of their strength: 0 removes them, 1 leaves them."""

    of: Literal["tuned", "delta"]
    """Which leading directions: those of the tuned weight, or of the update alone."""

    out: Text
    """The folder for the copy; must be empty or not exist."""

    rank: int
    """The rank of a mitigated adapter [default: its own]."""

    resume: bool
    """Do only what the records in DIR lack; a matrix that failed is tried again."""

    side: Literal["left", "right", "both"]
    """Which singular vectors to compare."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    sweep: Text
    """Also count at other limits: epsilon=FIRST:LAST:STEP."""

    tuned: Model | Sequence[Model] | Mapping[str, Model]
    """Another fine-tune of BASE, in a table and a file of its own; may be repeated. NAME=PATH names it."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""


class RankOptions(CommonOptions, total=False):
    """Those of `svdkit rank`."""

    acts: Text
    """The layers' inputs, for the same."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    at: int | Sequence[int]
    """Ranks at which energies and losses are told, as in 16,64."""

    base: Model
    """Measure the update MODEL − BASE instead of the weights: what a fine-tune of BASE changed."""

    basis: Text
    """What fixed directions hold in place of singular ones: `dct`, the cosines of optimizers without SVD; at these ranks."""

    budget: int
    """Average rank of a matrix; ranks go where they hold the largest share of a matrix's energy."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    cov: Text
    """Covariances of the layers' inputs (docs/data-files.md): ranks by the energy of what layers give."""

    emit: Text | Sequence[Text]
    """Write KIND to FILE, or to stdout instead of the table: peft-rank-pattern, kappatune, spectrum-yaml, spectrum-snr or kohya; may be repeated."""

    energy: float | str | Sequence[float | str]
    """Shares of the energy, as in 0.8,0.97: for each, the rank that holds it and how much factors of that rank save."""

    fisher: Text
    """Mean squares of the gradients of each entry: ranks weighted by them, as FWSVD has it."""

    grad_cov: Text
    """With `--cov` or `--acts`: covariances of the gradients of what layers give; how many parameters matter."""

    ledger: Text
    """Write each record into a file in DIR as it is found, so that a run which ends early can be resumed."""

    lora_alpha: float | str
    """`lora_alpha` of the pattern at its rank `r`; each module gets it in proportion to its rank [default: r]."""

    lowrank_plus_columns: Text
    """R directions [default: a quarter of all] and that share of the columns beside them, as LOST has it."""

    modules: Literal["inner", "all"]
    """Which modules get a rank from peft-rank-pattern and kohya; other kinds choose as their tools do."""

    nf4: int
    """What NF4 takes from the weight, and what an adapter of rank R gives back."""

    plot: Text
    """Measure only LAYER, and plot its singular values and their cumulative energy."""

    precision: Literal["fast", "exact"]
    """How exact small singular values are."""

    resize: Text | Sequence[Text]
    """How to resize: sv_ratio=P, sv_fro=P or sv_cumulative=P, separated by commas."""

    resume: bool
    """Do only what the records in DIR lack; a matrix that failed is tried again."""

    rho: float | str
    """No matrix gets more than RHO times the budget."""

    select_columns: Text
    """K columns that stand for the weight: strong rank-revealing QR with coefficients up to F [default F: 1.2], leverage, coherence."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    sst: int
    """Which directions SST samples when it trains R at a time."""

    threshold: float | str
    """Count the values above this share of the largest in `relative_rank`."""

    top: float | str
    """How many modules to train [default: 50% of each kind of matrix for spectrum-yaml, 20% of all for kappatune]."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""


class FarmsOptions(CommonOptions, total=False):
    """Those of `svdkit farms`."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    allocate: Text
    """Write KIND as JSON to FILE, or to stdout instead of the table: sparsity or lr."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    aspect: float | str
    """Columns of a window divided by its rows [default: 1]."""

    base: Model
    """Measure the update MODEL − BASE instead of the weights: what a fine-tune of BASE changed."""

    compat: Literal["farms"]
    """Treat sparsities above 1 as in another tool's code."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    conv: Literal["fold", "farms"]
    """How to treat convolution kernels [default: fold, for images farms]."""

    epsilon: float | str
    """Sparsities before scaling lie from 1 − EPSILON to 1 + EPSILON [default: 0.3]."""

    ledger: Text
    """Write each record into a file in DIR as it is found, so that a run which ends early can be resumed."""

    lr: float | str
    """The base learning rate [default: 1]."""

    map: Literal["linear", "sqrt", "log2", "step", "sigmoid"]
    """How an exponent becomes a learning rate [default: linear]."""

    modules: Literal["inner", "all"]
    """Which matrices get a number."""

    per: Literal["layer", "block"]
    """What one exponent applies to [default: block for sparsity, layer for lr]."""

    precision: Literal["fast", "exact"]
    """How exact small singular values are."""

    preset: Literal["language", "image"]
    """Published settings to start from; the options below override them."""

    range: Text
    """For linear and step: the lowest and highest multiple of the learning rate [default: 0.5,1.5]; for sigmoid: the scales below and above the mean [default: 0.25,0.25]."""

    resume: bool
    """Do only what the records in DIR lack; a matrix that failed is tried again."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    target: float | str
    """The share of all entries to prune [default: 0.7]."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""

    window: int
    """Rows of a window; fewer if the matrix is smaller [default: 2000, for images 100]."""

    windows_per_dim: int
    """Windows along each side of a matrix, so up to N² in all; the work grows like N² [default: 15, for images 9]."""

    xmin: Literal["ks", "median", "peak", "peak-fixed"]
    """Where a tail may start [default: peak, for images median]."""


class HeadsOptions(CommonOptions, total=False):
    """Those of `svdkit heads`."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    base: Model
    """What MODEL was trained from: tells what changed in each head. The base of an adapter."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    components: bool
    """With `--compose`: the scores of single directions, too."""

    compose: bool
    """Pairs of heads instead of heads: how far queries, keys and values of each read what each head of an earlier layer writes."""

    inputs: Text
    """What the attention modules get for some tokens, to tell what control tokens could do: safetensors or .npy of tokens × width, one table, or one for each module by its name."""

    ledger: Text
    """Write each record into a file in DIR as it is found, so that a run which ends early can be resumed."""

    no_fold: bool
    """Weights as stored: without the gain of the norm before the attention, and without centering."""

    resume: bool
    """Do only what the records in DIR lack; a matrix that failed is tried again."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    target: Text
    """The value that a head is to give, for `--inputs`: one vector."""

    top_directions: int
    """How many leading singular values of each product JSON lists."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""


class FeaturesOptions(CommonOptions, total=False):
    """Those of `svdkit features`."""

    center: bool
    """Take the mean off each column."""

    first_rows: bool
    """Estimate the dimension on the first rows, not on random ones."""

    gradients: bool
    """Files hold gradients in the shapes of their weights, a sample a file: show means, and cosines of q and o, k and v, and neighbors in depth."""

    mean: bool
    """Tables of one name in several files are samples of one thing: show the means of their numbers."""

    precision: Literal["fast", "exact"]
    """How exact small singular values are."""

    seed: int
    """Which rows the estimates of the dimension draw."""

    singular_values: Text
    """Save every spectrum to FILE: one f64 tensor a table."""

    standardize: bool
    """Take the mean off each column, and divide it by its standard deviation (over n − 1)."""

    unit_rows: bool
    """Divide each row by its length, after the columns."""


class LineageOptions(CommonOptions, total=False):
    """Those of `svdkit lineage`."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    permuted: bool
    """Neurons of B may stand in another order, as in a copy that was disguised: each is matched by what the gate reads, and tested by the rest. Coordinates of the residual stream are matched by the embeddings."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""


class ScalingOptions(CommonOptions, total=False):
    """Those of `svdkit scaling`."""

    adapter_config: Text
    """The configuration of an adapter, if it is not beside the weights."""

    adapter_init: Model
    """The adapter as it was before training, for initializations that change the base (PiSSA, OLoRA, CorDA)."""

    as_conv: Text | Sequence[Text]
    """Tensors of three axes to take for kernels of convolutions (out × in × k), where names and shapes mislead."""

    as_stack: Text | Sequence[Text]
    """Tensors of three axes to take for stacks of matrices."""

    as_weights: bool
    """Read the factors of an adapter as weights of their own, not as the updates that they make."""

    component: Text | Sequence[Text]
    """Only this component of a Diffusers pipeline, as in 'unet'; may be repeated."""

    lr: float | str | Sequence[float | str]
    """The learning rate of the matrices of each model, or one for all: adds `decay_ratio`."""

    split_qkv: bool
    """Split fused attention into queries, keys and values (GPT-2, GPT-NeoX, BLOOM, Phi-3, MPT)."""

    variant: Text
    """Read this variant from a folder: 'fp16' for model.fp16.safetensors."""

    wd: float | str | Sequence[float | str]
    """The weight decay of each model, or one for all."""

    widths: int | Sequence[int]
    """The width of each model, in the order of the models [default: of `config.json`, or the commonest side]."""

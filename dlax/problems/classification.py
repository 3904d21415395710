"""Classification of a partitioned data set by a neural network."""

import jax
import jax.numpy as jnp
import optax

from dlax.data import Dataset, Partition, iid
from dlax.models import ModelFactory, mlp
from dlax.problems.finite_sum import (
    NodeWeights,
    by_sample,
    check_batch_size,
    evaluator,
    exact_loss,
    hold_out,
    keep_samples,
    lay_out,
    local_loss,
    poisoner,
    probe,
    probed_objective,
)
from dlax.types import Model, Problem

_PROBE = 1_000  # training samples on which f(x̄) and ‖∇f(x̄)‖ of a network are measured


def classification(
    n: int,
    *,
    dataset: Dataset,
    model: ModelFactory = mlp(),
    partition: Partition = iid(),
    batch_size: int | None = 32,
    l2: float = 0.0,
    node_weights: NodeWeights = "equal",
    train_samples: int | None = None,
    held_out: int | None = None,
    seed: int = 0,
) -> Problem:
    """Cross entropy of a network on each node's samples.

        fᵢ(x) = wᵢ · (1/sᵢ) Σ_{j in node i} −log softmax(model(x; aⱼ))_{yⱼ} + (l2/2) ‖x‖²

    A sample that is a sequence has a label at each of its L places, and counts with its mean over them; the
    partition then goes by the samples' groups where it would go by their classes.

    The global objective and its gradient norm are measured on a fixed random subset of 1,000 training samples
    (all, where there are fewer), weighted as in f.

    Args:
      n: number of nodes.
      dataset: any labelled data set.
      model: the network of every node; for sequences one with outputs at each place.
      partition: how the training samples are split over nodes.
      batch_size: samples in a gradient, drawn uniformly with replacement from the node's own; None takes all.
      l2: factor of the regulariser on all parameters.
      node_weights: "equal": every node with data counts the same; "samples": every sample does.
      train_samples: how many training samples there are to split (a fixed random subset), for nodes with little
        data; None means all.
      held_out: how many held-out samples an evaluation uses (a fixed random subset); None means all.
      seed: of the partition and the subsets.

    Returns:
      A problem whose parameters are the model's.

    Raises:
      ValueError: if the split is impossible, the model does not fit the data's shape, or a number is out of
        range.
    """
    check_batch_size("classification", batch_size)
    if held_out is not None and held_out < 1:
        raise ValueError(f"classification: held_out must be at least 1, or null for all, got {held_out}")
    dataset = keep_samples(dataset, train_samples, seed)
    samples = lay_out(dataset, n, partition, node_weights=node_weights, l2=l2, seed=seed)
    network = model(dataset.x_train.shape[1:], dataset.num_classes)
    shared = samples.shared | probe(samples, _PROBE, seed)
    _check_outputs(network, dataset)

    def loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        return by_sample(optax.softmax_cross_entropy_with_integer_labels(outputs, labels))

    def predict(outputs: jax.Array) -> jax.Array:
        return jnp.argmax(outputs, axis=-1)

    most = int(samples.local["count"].max())
    return Problem(
        n=n,
        init=network.init,
        loss=local_loss(network.apply, loss, batch_size, most),
        local=samples.local,
        shared=shared,
        objective=probed_objective(network.apply, loss),
        evaluate=evaluator(network.apply, loss, predict),
        held=hold_out(dataset, held_out, seed),
        table=samples.table,
        on_cpu=network.on_cpu,
        exact=exact_loss(network.apply, loss, most),
        poisoned=None
        if dataset.sequences
        else poisoner(network.apply, loss, predict, batch_size, most, dataset.num_classes),
    )


def _check_outputs(network: Model, data: Dataset) -> None:
    """Refuses a network whose outputs do not fit the labels."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    sample = jax.ShapeDtypeStruct((1, *data.x_train.shape[1:]), data.x_train.dtype)
    outputs = jax.eval_shape(network.apply, params, sample).shape[1:]
    if outputs[:-1] != data.y_train.shape[1:]:
        places = data.y_train.shape[1:]
        raise ValueError(
            f"classification: a sample of {data.name!r} has labels of shape {places}, so the model's outputs must "
            f"have shape {(*places, data.num_classes)}, got {outputs}; char_transformer is for sequences, the other "
            "models for one label a sample"
        )

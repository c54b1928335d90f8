"""The records of data: labelled inputs, and who holds them."""

import numpy as np
import pytest

from fedshap.federated import Dataset, Federation


def test_dataset_copies_and_freezes():
    images, labels = np.zeros((3, 1, 8, 8)), np.array([0, 1, 2])
    data = Dataset(images, labels, n_classes=3)
    images[0], labels[0] = 1.0, 2
    assert data.inputs[0].max() == 0.0
    assert data.labels[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        data.inputs[0] = 1.0


def test_dataset_takes_a_large_array_as_it_is_only_if_nobody_can_write_to_it():
    images = np.zeros((3, 1, 8, 8), dtype=np.float32)
    assert Dataset(images, [0, 1, 2], 3).inputs is not images
    images.setflags(write=False)
    data = Dataset(images, [0, 1, 2], 3)
    assert data.inputs is images
    assert Dataset(data.inputs, data.labels, 3).inputs is images
    below = np.zeros((4, 1, 8, 8), dtype=np.float32)
    view = below[:3]
    view.setflags(write=False)  # which leaves the array below writable
    data = Dataset(view, [0, 1, 2], 3)
    below[:] = 1.0
    assert data.inputs.max() == 0.0


def test_dataset_of_rows():
    data = Dataset([[1.5, -2.0, 300.0], [0.0, 1.0, 2.0], [3.0, 3.0, 3.0]], [True, False, True], 2, "rows")
    assert repr(data) == "Dataset('rows', 3 rows of 3, 2 classes)"
    assert data.input_shape == (3,)
    assert data.inputs.dtype == np.float32
    assert data.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("images", "labels", "n_classes", "message"),
    [
        (np.zeros((2, 8, 8)), [0, 1], 2, r"inputs must have shape \(N, C, H, W\) or .*\(2, 8, 8\)"),
        (np.full((2, 1, 8, 8), 255.0), [0, 1], 2, "images must be at most 1; got 255"),
        (np.full((2, 1, 8, 8), -1.0), [0, 1], 2, "images must be at least 0; got -1"),
        (np.full((2, 1, 8, 8), np.nan), [0, 1], 2, "every entry of inputs must be finite"),
        (np.full((2, 1, 8, 8), np.inf, dtype=np.float32), [0, 1], 2, "every entry of inputs must be finite"),
        (np.full((2, 1, 8, 8), 1.5, dtype=np.float32), [0, 1], 2, "images must be at most 1; got 1.5"),
        (np.full((2, 3), 1e300), [0, 1], 2, "every entry of inputs must be finite"),
        (np.zeros((0, 3)), [], 2, r"inputs must have shape .* got \(0, 3\)"),
        (["a", "b"], [0, 1], 2, "inputs must be an array of numbers"),
        (np.zeros((2, 1, 8, 8)), [0, 1, 1], 2, "labels must have one entry per input; got 3 for 2"),
        (np.zeros((2, 1, 8, 8)), [0, 2], 2, r"labels must be integers in 0\.\.1; got 2"),
        (np.zeros((2, 1, 8, 8)), [0, 0.5], 2, r"labels must be integers in 0\.\.1; got 0.5"),
        (np.zeros((2, 1, 8, 8)), [0, -1], 2, "labels must be at least 0; got -1"),
        (np.zeros((2, 1, 8, 8)), [0, 0], 1, "n_classes must be an integer of at least 2; got 1"),
    ],
)
def test_dataset_refuses(images, labels, n_classes, message):
    with pytest.raises(ValueError, match=message):
        Dataset(images, labels, n_classes)


def test_dataset_refuses_a_name_or_a_verdict_of_another_kind():
    for more in ({"name": 3}, {"verified": "yes"}):
        with pytest.raises(ValueError, match="name must be a string and verified True or False; got"):
            Dataset(np.zeros((2, 3)), [0, 1], 2, **more)
    assert Dataset(np.zeros((2, 3)), [0, 1], 2).verified is False
    with pytest.raises(TypeError):
        Dataset(np.zeros((2, 3)), [0, 1], 2, "rows", True)  # by name alone


@pytest.mark.parametrize("parts", [None, "ab", ["a"], 3], ids=["nothing", "a name", "names", "a number"])
def test_federation_refuses_what_are_no_data_sets(parts):
    data = [Dataset(np.zeros((2, 3)), [0, 1], 2)]
    with pytest.raises(ValueError, match="train must be a sequence of Datasets, one per client; got"):
        Federation(parts, data, [0])
    with pytest.raises(ValueError, match="test must be a sequence of Datasets, one per client; got"):
        Federation(data, parts, [0])


def test_federation_refuses_what_does_not_fit_together():
    grey = Dataset(np.zeros((2, 1, 8, 8)), [0, 1], 5)
    colour = Dataset(np.zeros((2, 3, 8, 8)), [0, 1], 5)
    with pytest.raises(ValueError, match="train and test must hold one data set per client; got 2 and 1"):
        Federation([grey] * 2, [grey], np.array([0, 1]))
    with pytest.raises(ValueError, match="train and test must agree in image shape and classes"):
        Federation([grey, colour], [grey, colour], np.array([0, 1]))
    with pytest.raises(ValueError, match="groups must give each of 2 clients a label"):
        Federation([grey] * 2, [grey] * 2, np.array([0, 2]))
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1; got 0"):
        Federation([grey] * 3, [grey] * 3, np.array([0, 1, 1])).batches(0)

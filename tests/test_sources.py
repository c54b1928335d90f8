"""Loading data sets, whole ones and damaged ones.

The complete MNIST, Fashion-MNIST and lumpy skin disease data are tested where ``FEDSHAP_DATA`` names a folder as
torchvision lays it out and ``FEDSHAP_LUMPY`` the CSV file. Small files of the same formats are written here.
"""

import csv
import hashlib
import os
import pickle
import sys
import tracemalloc
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures
from torchvision import datasets as torchvision_datasets

from fedshap.federated import (
    DATASETS,
    Dataset,
    archives,
    load_dataset,
    lumpy,
    partition_dirichlet,
    partition_label_shares,
    sources,
)

DATA = os.environ.get("FEDSHAP_DATA")
LUMPY = os.environ.get("FEDSHAP_LUMPY")
needs_data = pytest.mark.skipif(not DATA, reason="FEDSHAP_DATA names no folder with MNIST and Fashion-MNIST")
needs_lumpy = pytest.mark.skipif(not LUMPY, reason="FEDSHAP_LUMPY names no CSV file")


def test_digits_are_those_of_scikit_learn():
    digits, bunch = load_dataset("digits"), load_digits()
    np.testing.assert_array_equal(digits.inputs[:, 0] * 16, bunch["images"])
    np.testing.assert_array_equal(digits.labels, bunch["target"])
    assert digits.inputs.dtype == np.float32
    assert digits.labels.dtype == np.int64
    assert (digits.n_classes, digits.input_shape, len(digits)) == (10, (1, 8, 8), 1797)


def test_breast_cancer_is_that_of_scikit_learn():
    cancer, bunch = load_dataset("breast-cancer"), load_breast_cancer()
    np.testing.assert_allclose(cancer.inputs, bunch["data"], rtol=1e-6)
    np.testing.assert_array_equal(cancer.labels, bunch["target"])
    assert bunch["target_names"][1] == "benign"
    assert repr(cancer) == "Dataset('breast-cancer', 569 rows of 30, 2 classes)"


def test_unknown_name_lists_the_known_ones():
    known = "'digits', 'breast-cancer', 'mnist', 'fashion-mnist', 'cifar10', 'lumpy', 'quadratic'"
    with pytest.raises(ValueError, match=rf"name must be one of {known}; got 'mnits'"):
        load_dataset("mnits")
    with pytest.raises(ValueError, match=r"name must be one of .*; got \['mnist'\]"):
        load_dataset(["mnist"])
    with pytest.raises(ValueError, match="root must be a path; got 3"):
        load_dataset("lumpy", 3)


@pytest.mark.parametrize(("name", "package"), [("digits", "sklearn"), ("mnist", "torchvision")])
def test_a_missing_package_is_named_with_the_fix(name, package, monkeypatch, tmp_path):
    for module in [each for each in sys.modules if each.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{name} needs {package}.* pip install fedshap\[train\]"):
        load_dataset(name, tmp_path)


# ---- the quadratic task ------------------------------------------------------------------------------


def test_quadratic_is_balanced_and_always_the_same():
    first, again = load_dataset("quadratic"), load_dataset("quadratic")
    assert np.bincount(first.labels).tolist() == [5000, 5000]
    assert first.input_shape == (10,)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.labels, again.labels)


def test_quadratic_is_learnt_by_products_of_inputs_up_to_its_noise():
    data = load_dataset("quadratic")
    scores = {}
    for degree in (1, 2):
        rows = PolynomialFeatures(degree).fit_transform(data.inputs)
        model = LogisticRegression(max_iter=1000).fit(rows[:7000], data.labels[:7000])
        scores[degree] = model.score(rows[7000:], data.labels[7000:])
    assert scores[1] < 0.65
    # with noise of a fifth the sign of a normal score is right with probability 1 - arctan(0.2) / pi = 0.937
    assert 0.90 < scores[2] < 0.95


# ---- images kept by torchvision ----------------------------------------------------------------------


def idx(array):
    """The bytes of an array in the format of MNIST: type, number of axes, sizes, then the entries."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


@pytest.fixture(params=["mnist", "fashion-mnist"])
def tiny(request, tmp_path, monkeypatch):
    """A folder with 30 training and 20 test images as torchvision keeps them, and no network."""
    archive = archives.IMAGE_ARCHIVES[request.param]
    monkeypatch.setitem(archives.IMAGE_ARCHIVES, request.param, archive._replace(n_train=30, n_test=20))
    monkeypatch.setattr(getattr(torchvision_datasets, archive.torchvision_name), "mirrors", [])
    folder = tmp_path / archive.folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(6)
    written = {}
    for part, size in (("train", 30), ("t10k", 20)):
        pixels = rng.integers(0, 256, size=(size, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, size=size, dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        written[part] = pixels, labels
    return request.param, tmp_path, folder, written


def test_images_are_pooled_training_part_first(tiny):
    name, root, _, written = tiny
    data = load_dataset(name, str(root))
    pixels, labels = (np.concatenate([written["train"][k], written["t10k"][k]]) for k in (0, 1))
    np.testing.assert_allclose(data.inputs[:, 0], pixels / 255, atol=1e-7)
    np.testing.assert_array_equal(data.labels, labels)
    assert (data.name, data.n_classes, data.inputs.dtype) == (name, 10, np.float32)


def test_without_a_root_images_are_in_the_folder_for_downloads(tiny, monkeypatch):
    name, root, _, _ = tiny
    monkeypatch.setattr(archives, "DOWNLOADS", root)
    assert len(load_dataset(name)) == 50


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", ["missing", "empty", "no entries", "cut short", "too long", "another format"])
def test_damaged_images_are_refused_with_folder_and_fix(tiny, file, damage):
    name, root, folder, _ = tiny
    whole = (folder / file).read_bytes()
    damaged = {
        "empty": b"",
        "no entries": whole[:8],
        "cut short": whole[:-5],
        "too long": whole + b"12345",
        "another format": b"<html>not found</html>",
    }
    if damage == "missing":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(damaged[damage])
    with pytest.raises(OSError, match=rf"{name} is neither whole in {folder} nor .* Remove that folder .* or copy it"):
        load_dataset(name, root)


def test_another_number_of_images_is_refused(tiny):
    name, root, folder, written = tiny
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(written["t10k"][0][:19]))
    with pytest.raises(ValueError, match=r"30 and 20 images .* expected, found \[\(30, 30\), \(19, 20\)\].*Remove"):
        load_dataset(name, root)


def test_nothing_there_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_datasets.MNIST, "mirrors", [])
    with pytest.raises(
        OSError, match=rf"mnist is neither whole in {tmp_path}/no/MNIST/raw .*with a network connection"
    ):
        load_dataset("mnist", tmp_path / "no")


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """Twelve training images in two files and five test images as torchvision keeps CIFAR-10, and no network."""
    folder, rng = tmp_path / "cifar-10-batches-py", np.random.default_rng(7)
    folder.mkdir()
    written, sums = {}, {}
    for file, size in (("data_batch_1", 7), ("data_batch_2", 5), ("test_batch", 5)):
        pixels = rng.integers(0, 256, size=(size, 3072), dtype=np.uint8)
        written[file] = {"data": pixels, "labels": rng.integers(0, 10, size=size).tolist()}
    for file, entry in {**written, "batches.meta": {"label_names": list("abcdefghij")}}.items():
        (folder / file).write_bytes(pickle.dumps(entry))
        sums[file] = hashlib.md5((folder / file).read_bytes()).hexdigest()
    cifar = torchvision_datasets.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [[file, sums[file]] for file in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(cifar, "meta", {**cifar.meta, "md5": sums["batches.meta"]})

    def unreachable(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    archive = archives.IMAGE_ARCHIVES["cifar10"]
    monkeypatch.setitem(archives.IMAGE_ARCHIVES, "cifar10", archive._replace(n_train=12, n_test=5))
    return tmp_path, folder, written


def test_cifar_keeps_channels_first(tiny_cifar):
    root, _, written = tiny_cifar
    data = load_dataset("cifar10", root)
    pixels = np.concatenate([entry["data"] for entry in written.values()])
    np.testing.assert_allclose(data.inputs.reshape(17, 3072), pixels / 255, atol=1e-7)  # red, green, blue plane
    assert data.labels.tolist() == sum((entry["labels"] for entry in written.values()), [])
    assert data.input_shape == (3, 32, 32)


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch"])
def test_damaged_cifar_is_refused_with_folder_and_fix(tiny_cifar, file):
    root, folder, _ = tiny_cifar
    (folder / file).write_bytes((folder / file).read_bytes()[:-9])
    with pytest.raises(OSError, match=rf"cifar10 is neither whole in {folder} nor .*no network.*Remove that folder"):
        load_dataset("cifar10", root)


# ---- content that is known ---------------------------------------------------------------------------


FILES = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


@pytest.fixture
def known(tiny, monkeypatch):
    """The tiny archive with its checksums on record, and the other archive's files beside it, known too."""
    name, root, folder, _ = tiny
    other = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}[name]
    elsewhere, rng = root / archives.IMAGE_ARCHIVES[other].folder, np.random.default_rng(8)
    elsewhere.mkdir(parents=True)
    for file in folder.iterdir():
        whole = file.read_bytes()
        header = 16 if "images" in file.name else 8
        entries = rng.integers(0, 10, size=len(whole) - header, dtype=np.uint8).tobytes()
        (elsewhere / file.name).write_bytes(whole[:header] + entries)
    for each, place in ((name, folder), (other, elsewhere)):
        sums = {file: hashlib.sha256((place / file).read_bytes()).hexdigest() for file in FILES}
        monkeypatch.setitem(archives.IMAGE_ARCHIVES, each, archives.IMAGE_ARCHIVES[each]._replace(sha256=sums))
    return name, other, root, folder, elsewhere


def test_known_content_is_verified(known):
    name, _, root, _, _ = known
    assert load_dataset(name, root).verified is True


@pytest.mark.parametrize("file", FILES)
def test_content_that_no_checksum_knows_is_loaded_and_not_verified(known, file):
    name, _, root, folder, _ = known
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1  # one bit, which leaves labels within 0..9
    (folder / file).write_bytes(content)
    assert load_dataset(name, root).verified is False


@pytest.mark.parametrize("files", [*([file] for file in FILES), FILES], ids=[*FILES, "all"])
def test_files_of_another_data_set_are_refused(known, files):
    name, other, root, folder, elsewhere = known
    for file in files:
        (folder / file).write_bytes((elsewhere / file).read_bytes())
    message = rf"{folder / files[0]} is {files[0]} of {other}, not {files[0]} of {name}; move it .* its own files"
    with pytest.raises(ValueError, match=message):
        load_dataset(name, root)


def test_one_file_in_the_place_of_another_is_refused(known):
    name, _, root, folder, _ = known
    sums = dict(archives.IMAGE_ARCHIVES[name].sha256)
    archives.IMAGE_ARCHIVES[name] = archives.IMAGE_ARCHIVES[name]._replace(
        sha256={**sums, FILES[1]: sums[FILES[3]], FILES[3]: sums[FILES[1]]}
    )
    with pytest.raises(ValueError, match=rf"{folder / FILES[1]} is {FILES[3]} of {name}, not {FILES[1]} of {name}"):
        load_dataset(name, root)


@pytest.mark.parametrize("name", ["digits", "breast-cancer", "quadratic"])
def test_content_that_comes_with_a_package_is_verified(name, monkeypatch):
    data = load_dataset(name)
    assert data.verified is True
    assert sources.digest(data) == sources.CONTENT[name]
    other = Dataset(data.inputs, (data.labels + 1) % data.n_classes, data.n_classes)
    monkeypatch.setattr(sources, "DATASETS", {**DATASETS, name: lambda root: other})
    assert load_dataset(name).verified is False


def test_the_digest_sees_every_input_and_label():
    inputs, labels = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])
    others = [Dataset(inputs + (np.arange(3) == 2) * 1e-6, labels, 2), Dataset(inputs, 1 - labels, 2)]
    sums = {sources.digest(each) for each in [Dataset(inputs, labels, 2), Dataset(inputs.copy(), labels, 3), *others]}
    assert len(sums) == 3


def test_cifar_is_compared_by_torchvision(tiny_cifar):
    assert load_dataset("cifar10", tiny_cifar[0]).verified is True


def test_checksums_are_those_known_to_torchvision_by_their_archives():
    """The sums here are of the unpacked files, those of torchvision of the packed ones: names agree, none is twice."""
    sums = []
    for name in ("mnist", "fashion-mnist"):
        archive = archives.IMAGE_ARCHIVES[name]
        packed = [file for file, _ in getattr(torchvision_datasets, archive.torchvision_name).resources]
        assert [f"{file}.gz" for file in archive.sha256] == packed
        sums.extend(archive.sha256.values())
    assert len(set(sums)) == 8


def published(folder, name):
    """All bytes behind the header of an idx file, read without torchvision."""
    file = Path(DATA or "") / folder / name
    return np.frombuffer(file.read_bytes(), dtype=np.uint8, offset=8 if "labels" in name else 16)


@needs_data
@pytest.mark.parametrize(
    ("name", "mean", "deviation", "sizes"),
    [
        ("mnist", 0.1307, 0.3081, [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]),
        ("fashion-mnist", 0.2860, 0.3530, [7000] * 10),
    ],
)
def test_complete_images(name, mean, deviation, sizes):
    """Mean and deviation of the training images are those with which they are commonly normalised."""
    tracemalloc.start()
    data = load_dataset(name, DATA)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500e6  # the images alone, in float32, take 220e6 bytes
    assert repr(data) == f"Dataset('{name}', 70000 images of 1 x 28 x 28, 10 classes)"
    assert data.verified
    assert np.bincount(data.labels).tolist() == sizes
    training = data.inputs[:60_000].astype(float)
    np.testing.assert_allclose([training.mean(), training.std()], [mean, deviation], atol=6e-5)
    folder = archives.IMAGE_ARCHIVES[name].folder
    for part, prefix in ((slice(60_000), "train"), (slice(60_000, None), "t10k")):
        pixels = np.rint(data.inputs[part] * 255).astype(np.uint8)
        np.testing.assert_array_equal(pixels.ravel(), published(folder, f"{prefix}-images-idx3-ubyte"))
        np.testing.assert_array_equal(data.labels[part], published(folder, f"{prefix}-labels-idx1-ubyte"))


@needs_data
def test_complete_mnist_is_dealt_to_thirty_clients():
    federation = partition_dirichlet(load_dataset("mnist", DATA), n_clients=30, concentration=0.5, rng=0)
    assert sum(len(data) for data in federation.train + federation.test) == 70_000
    assert federation.n_groups == 30


# ---- lumpy skin disease ------------------------------------------------------------------------------

FEATURES = list(lumpy.FEATURES)
HEADER = [*FEATURES[:2], *lumpy.LEAKS, *FEATURES[2:], lumpy.LABEL]


def lumpy_rows():
    """Eight rows as the file has them: two equal but for region and date, two but for the label and one digit."""
    rng = np.random.default_rng(9)
    rows = []
    for k, label in enumerate([1, 0, 1, 0, 0, 1]):
        values = [f"{rng.uniform(max(low, -50), min(high, 50)):.3f}" for low, high in lumpy.FEATURES.values()]
        leaks = ["Asia", "Korea, Republic of", f"0{k + 1}-09-2020"] if label else ["", "", ""]
        rows.append([*values[:2], *leaks, *values[2:], str(label)])
    repeat = [*rows[0][:2], "Europe", "Turkey", "11-11-2019", *rows[0][5:]]
    contradiction = [rows[3][0] + "00001", *rows[3][1:-1], "1"]
    return [rows[0], rows[1], repeat, *rows[2:], contradiction]


def write(path, rows, header=None):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([HEADER if header is None else header, *rows])
    return path


@pytest.fixture
def small_lumpy(monkeypatch):
    monkeypatch.setattr(lumpy, "N_ROWS", 8)
    monkeypatch.setattr(lumpy, "N_POSITIVES", 5)


@pytest.mark.usefixtures("small_lumpy")
def test_lumpy_drops_what_leaks_and_keeps_equal_rows_once(tmp_path):
    rows = lumpy_rows()
    data = load_dataset("lumpy", write(tmp_path / "any name.csv", rows))
    kept = [rows[k] for k in (0, 1, 3, 4, 5, 6)]
    np.testing.assert_allclose(data.inputs, [[float(x) for x in row[:2] + row[5:-1]] for row in kept], rtol=1e-6)
    assert data.labels.tolist() == [1, 0, 1, 1, 0, 1]  # the fourth is contradicted by the last row of the file
    assert repr(data) == "Dataset('lumpy', 6 rows of 16, 2 classes)"


@pytest.mark.usefixtures("small_lumpy")
def test_lumpy_is_found_in_its_folder_and_columns_may_be_in_any_order(tmp_path):
    rows = lumpy_rows()
    first = load_dataset("lumpy", write(tmp_path / "a.csv", rows))
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "Lumpy skin disease data.csv", [row[::-1] for row in rows], HEADER[::-1])
    write(folder / "other.csv", [])
    again = load_dataset("lumpy", str(folder))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.labels, again.labels)
    write(folder / "lumpy copy.csv", rows)
    with pytest.raises(OSError, match=r"a folder with one '\*lumpy\*\.csv'; got .* where there are 2 such files"):
        load_dataset("lumpy", folder)


@pytest.mark.parametrize("root", [None, "nowhere.csv", "."])
def test_lumpy_that_is_not_there(tmp_path, root):
    place = None if root is None else tmp_path / root
    with pytest.raises(OSError, match=r"root must be the CSV file .* there are 0 such files.*doi.org/10.17632/7pyh"):
        load_dataset("lumpy", place)


def without_a_column(rows):
    return [row[:-2] + row[-1:] for row in rows], HEADER[:-2] + HEADER[-1:]


def with_a_column(rows):
    return [[*row, "1"] for row in rows], [*HEADER, "extra"]


def with_an_entry(row, column, value):
    def damage(rows):
        rows = [list(each) for each in rows]
        rows[row][HEADER.index(column)] = value
        return rows, HEADER

    return damage


@pytest.mark.usefixtures("small_lumpy")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_a_column, "must have the columns x, y, cld, .*, lumpy; got x, y, region, .*, X5_Ct_2010_Da, lumpy"),
        (with_a_column, "must have the columns .*; got .*, extra"),
        (lambda rows: (rows, []), "must have the columns .*; got"),
        (lambda rows: (rows[:-1], HEADER), "must have 8 rows, 5 of them positive; got 7 and 4.*doi.org"),
        (lambda rows: ([], HEADER), "must have 8 rows, 5 of them positive; got 0 and 0"),
        (lambda rows: ([*rows[:-1], rows[0][:9]], HEADER), "line 9: must have 20 cells; got 9.*doi.org"),
        (with_an_entry(1, "lumpy", "1"), "must have 8 rows, 5 of them positive; got 8 and 6"),
        (with_an_entry(1, "lumpy", "2"), "line 3: column lumpy must be 0 or 1; got 2"),
        (with_an_entry(1, "lumpy", "0.5"), "line 3: column lumpy must be 0 or 1; got 0.5"),
        (with_an_entry(1, "tmp", "warm"), "line 3: column tmp must be a number; got 'warm'.*doi.org"),
        (with_an_entry(4, "wet", ""), "line 6: column wet must be a number; got ''"),
        (with_an_entry(1, "tmp", "nan"), r"line 3: column tmp must be in \[-90, 60\]; got nan"),
        (with_an_entry(7, "vap", "inf"), r"line 9: column vap must be in \[0, 100\]; got inf"),
        (with_an_entry(0, "x", "180.1"), r"line 2: column x must be in \[-180, 180\]; got 180.1"),
    ],
)
def test_damaged_lumpy_is_refused(tmp_path, damage, message):
    path = write(tmp_path / "lumpy.csv", *damage(lumpy_rows()))
    with pytest.raises(ValueError, match=rf"^{path}.*{message}"):
        load_dataset("lumpy", path)


@pytest.mark.usefixtures("small_lumpy")
@pytest.mark.parametrize("column", FEATURES)
def test_no_column_of_lumpy_takes_a_missing_value_written_as_a_number(tmp_path, column):
    path = write(tmp_path / "lumpy.csv", *with_an_entry(2, column, "-9999")(lumpy_rows()))
    with pytest.raises(ValueError, match=rf"^{path}, line 4: column {column} must be in \[.*\]; got -9999"):
        load_dataset("lumpy", path)


@pytest.mark.usefixtures("small_lumpy")
def test_the_line_is_that_of_the_file_and_empty_lines_are_no_rows(tmp_path):
    rows, header = with_an_entry(3, "tmp", "99")(lumpy_rows())
    path = write(tmp_path / "lumpy.csv", [*rows[:3], [], [], *rows[3:]], header)
    with pytest.raises(ValueError, match=rf"^{path}, line 7: column tmp must be"):
        load_dataset("lumpy", path)
    write(path, [*lumpy_rows()[:3], [], *lumpy_rows()[3:]])
    assert len(load_dataset("lumpy", path)) == 6


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "lumpy.csv").write_bytes(b"PK\x03\x04\xff\xfe\x00\x80" * 50)
    with pytest.raises(ValueError, match="must have the columns"):
        load_dataset("lumpy", tmp_path)


@needs_lumpy
def test_complete_lumpy():
    data = load_dataset("lumpy", LUMPY)
    assert repr(data) == "Dataset('lumpy', 23699 rows of 16, 2 classes)"
    assert data.verified
    assert np.bincount(data.labels).tolist() == [21_764, 1_935]
    assert len(np.unique(data.inputs, axis=0)) == len(data)


@needs_lumpy
def test_lumpy_is_known_whatever_its_layout_and_one_value_makes_it_unknown(tmp_path):
    with open(LUMPY, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    order = np.random.default_rng(0).permutation(len(rows[0]))
    path = write(tmp_path / "a.csv", [[row[k] for k in order] for row in rows[1:]], [rows[0][k] for k in order])
    assert load_dataset("lumpy", path).verified
    rows[9][rows[0].index("tmp")] = "19.2"
    write(path, rows[1:], rows[0])
    assert not load_dataset("lumpy", path).verified


@needs_lumpy
def test_no_row_of_lumpy_is_trained_and_tested_on():
    federation = partition_label_shares(load_dataset("lumpy", LUMPY), rng=0)
    rows = [row.tobytes() for part in federation.train + federation.test for row in part.inputs]
    assert len(rows) == len(set(rows)) == 2 * 1_935


@needs_lumpy
def test_what_the_documentation_warns_of_in_lumpy():
    data = load_dataset("lumpy", LUMPY)
    coordinates, surroundings = data.inputs[:, :2].astype(float), data.inputs[:, 2:]
    on_grid = ((4 * coordinates) % 2 == 1).all(axis=1)
    np.testing.assert_array_equal(on_grid, data.labels == 0)
    places = {row.tobytes(): place for row, place in zip(surroundings[on_grid], coordinates[on_grid], strict=True)}
    outbreaks = list(zip(surroundings[~on_grid], coordinates[~on_grid], strict=True))
    assert len({row.tobytes() for row, _ in outbreaks}) == 456
    assert max(np.abs(place - places[row.tobytes()]).max() for row, place in outbreaks) < 1.0


def test_every_data_set_has_a_test_here():
    assert set(DATASETS) == {"digits", "breast-cancer", "mnist", "fashion-mnist", "cifar10", "lumpy", "quadratic"}

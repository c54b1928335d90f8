"""Image data sets that torchvision keeps: read, and their content compared with that published.

MNIST and Fashion-MNIST have the same file names, sizes and format, so nothing but the content tells one from the other.
A file that is known to be another one is refused; one that is not known is read, and the data set is not ``verified``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fedshap.federated.datasets import Dataset

DOWNLOADS = Path("~/.cache/fedshap")
"""Where data sets are downloaded to if no other folder is given."""

_NO_SUMS: Mapping[str, str] = MappingProxyType({})


class ImageArchive(NamedTuple):
    """A data set that torchvision keeps."""

    torchvision_name: str
    folder: str  # below the root
    n_train: int
    n_test: int
    sha256: Mapping[str, str] = _NO_SUMS  # of each file; empty where torchvision compares checksums at every load


_MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_FASHION = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
IMAGE_ARCHIVES = {
    "mnist": ImageArchive("MNIST", "MNIST/raw", 60_000, 10_000, MappingProxyType(_MNIST)),
    "fashion-mnist": ImageArchive("FashionMNIST", "FashionMNIST/raw", 60_000, 10_000, MappingProxyType(_FASHION)),
    "cifar10": ImageArchive("CIFAR10", "cifar-10-batches-py", 50_000, 10_000),
}


def load_images(name: str, root: Path | None) -> Dataset:
    """Both parts of a data set of torchvision, which shows the progress of a download itself."""
    archive = IMAGE_ARCHIVES[name]
    root = DOWNLOADS.expanduser() if root is None else root
    folder = root / archive.folder
    try:
        parts = _torchvision_parts(archive, root)
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:  # what torchvision's readers raise
        raise OSError(_advice(name, folder, f"{type(error).__name__}: {error}")) from error
    found = [(len(pixels), len(labels)) for pixels, labels in parts]
    if found != [(archive.n_train,) * 2, (archive.n_test,) * 2]:
        counts = f"{archive.n_train} and {archive.n_test} images with as many labels expected, found {found}"
        raise ValueError(_advice(name, folder, counts))
    verified = _is_as_published(name, folder)
    inputs = np.empty((archive.n_train + archive.n_test, *parts[0][0].shape[1:]), dtype=np.float32)
    for chunk, (pixels, _) in zip(np.split(inputs, [archive.n_train]), parts, strict=True):
        np.divide(pixels, np.float32(255.0), out=chunk)
    inputs.setflags(write=False)  # so that it need not be copied
    labels = np.concatenate([labels for _, labels in parts])
    return Dataset(inputs, labels, n_classes=10, name=name, verified=verified)


def _torchvision_parts(archive: ImageArchive, root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bytes (N, C, H, W) and labels (N,) of the training and of the test part."""
    from torchvision import datasets

    parts = []
    for is_train in (True, False):
        part = getattr(datasets, archive.torchvision_name)(root, train=is_train, download=True)
        pixels, labels = np.asarray(part.data), np.asarray(part.targets)
        parts.append((pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2), labels))
    return parts


def _is_as_published(name: str, folder: Path) -> bool:
    """Whether all files are the published ones; ValueError if one is known to be another file."""
    owners = {sha: (other, file) for other, each in IMAGE_ARCHIVES.items() for file, sha in each.sha256.items()}
    found = {}
    for file in IMAGE_ARCHIVES[name].sha256:
        with open(folder / file, "rb") as content:
            found[file] = owners.get(hashlib.file_digest(content, "sha256").hexdigest())
        if found[file] not in (None, (name, file)):
            other, its_name = found[file]
            raise ValueError(
                f"{folder / file} is {its_name} of {other}, not {file} of {name}; move it to where {other} is "
                f"kept, and load {name} again with a network connection or with its own files"
            )
    return all(owner == (name, file) for file, owner in found.items())


def _advice(name: str, folder: Path, what: str) -> str:
    return (
        f"{name} is neither whole in {folder} nor could it be downloaded to there ({' '.join(what.split())}). Remove "
        "that folder if it exists and load again with a network connection, or copy it from a machine that has it"
    )

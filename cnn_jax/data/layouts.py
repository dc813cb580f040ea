"""The layouts of data that are read: what `--dataset=help` prints and docs/data.md shows."""

from typing import NamedTuple


class Layout(NamedTuple):
    """A layout, as a picture of its tree, and what is made of it."""

    title: str
    tree: str
    meaning: str


LAYOUTS = (
    Layout(
        "class folders",
        """
pets/
  cat/  1.png 2.png ...
  dog/  1.png 2.png ...
""",
        "Every folder is a class, in natural order (2 before 10). A fifth of the pictures, always "
        "the same, is the test split; validation is held out of the rest.",
    ),
    Layout(
        "split folders",
        """
pets/
  train/  cat/ ...  dog/ ...
  val/    cat/ ...  dog/ ...
  test/   cat/ ...  dog/ ...
""",
        "train or training; val, valid, validation or dev; test, testing or eval; in any letter "
        "case, also training_set or test1, and one folder down. val is the validation split, so "
        "nothing is held out for it. Without test, a fifth of train takes its place. "
        "Pictures in test without class folders have no labels: they are for predict.",
    ),
    Layout(
        "a table with one class a row",
        """
pets/
  labels.csv       id,breed
  train/           0a1.jpg ...      or images/ 0a1.jpg ...
""",
        "labels.csv, metadata.csv, train.csv or another table, beside or in train: a column called "
        "file, filename, file_name, path, image, id or the like, with or without ending, and one "
        "called label, class or the like (or the only other one). Commas, semicolons or tabs. A "
        "column called split says train, val or test. Beside folders of splits, a table that is "
        "named for none of them labels the pictures of all. A name that fits several pictures is "
        "refused; write its folders before it.",
    ),
    Layout(
        "tables of splits beside one folder",
        """
pets/
  train.csv  id,breed      val.csv  id,breed      test.csv  id,breed
  images/    0a1.jpg ...
""",
        "Each table is the split that its name says, as names of folders do: train_labels.csv, "
        "trainLabels.csv and pets_train.csv too. One without the column of labels takes the class "
        "folders' labels, where there are any; else its pictures are for predict, which is said.",
    ),
    Layout(
        "a table with several labels a row",
        """
faces/
  train/  labels.csv (or _classes.csv)   file,smiling,hat
          1.png 2.png ...
  test/   labels.csv  1.png ...
""",
        "0 and 1, -1 and 1, true and false, or 1.0 and 0.0 in a column for each label; or one "
        "column called labels or tags with | ; or , between them. --labels says which, where a "
        "table can be read in two ways.",
    ),
    Layout(
        "classes in the names of files",
        """
pets/
  train/  cat.0.jpg cat.1.jpg dog.0.jpg ...
""",
        "With --class_pattern={class}.*, in which * is for anything; a class is as long as can be.",
    ),
    Layout(
        "IDX files",
        """
digits/
  train-images-idx3-ubyte  train-labels-idx1-ubyte
  t10k-images-idx3-ubyte   t10k-labels-idx1-ubyte
""",
        "As published for MNIST and EMNIST (emnist-letters-train-...), with .gz or not, in folders "
        "such as torchvision's MNIST/raw too. Of several sets, --dataset=FOLDER/emnist-letters.",
    ),
    Layout(
        "CIFAR's binary version",
        """
cifar-10-batches-bin/
  data_batch_1.bin ... data_batch_5.bin  test_batch.bin  batches.meta.txt
""",
        "And train.bin, test.bin, fine_label_names.txt of CIFAR-100. The Python version is pickled "
        "and not opened.",
    ),
    Layout(
        "arrays",
        """
mnist.npz          x_train, y_train, x_test, y_test (Keras)
pathmnist.npz      train_images, train_labels, val_images, ... (MedMNIST)
train_32x32.mat    test_32x32.mat (SVHN)
""",
        "The file, or a folder that holds it. Arrays of Python objects are not opened.",
    ),
    Layout(
        "tables of pixels",
        """
mnist_train.csv    label,pixel0,pixel1,...
mnist_test.csv
""",
        "A line an image, with or without a line of names; square gray images.",
    ),
    Layout(
        "archives",
        """
pets.zip  (.tar.gz, .tgz, .tar.bz2, .tar.xz)
""",
        "Of any of these, or a folder with one archive and nothing else: unpacked to the cache, "
        "once.",
    ),
)


def describe() -> str:
    """All layouts, for a terminal."""
    parts = [f"{each.title}\n{_indent(each.tree)}\n{_indent(each.meaning)}" for each in LAYOUTS]
    return "\n\n".join(
        ["What --dataset=PATH may hold; also a name: mnist, faces, cifar10, ...", *parts]
    )


def _indent(text: str) -> str:
    import textwrap

    lines = text.strip("\n").splitlines()
    if len(lines) == 1:
        lines = textwrap.wrap(lines[0], 96, break_on_hyphens=False)
    return "\n".join(f"    {line}".rstrip() for line in lines)

"""Names of classes that published files and TensorFlow Datasets have as numbers only."""

from string import ascii_lowercase, ascii_uppercase, digits

_CIFAR10_LINE = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR10 = tuple(_CIFAR10_LINE.split())

# Krizhevsky 2009, "Learning multiple layers of features from tiny images", table 1; alphabetical.
_CIFAR100_LINES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# Cohen et al. 2017, arXiv:1702.05373: small letters that look like their capitals are one class.
_EMNIST_MERGED = (*digits, *ascii_uppercase, *"abdefghnqrt")
# Labels count from 1, small letters and capitals together; TFDS has 37 classes for these 26.
_EMNIST_LETTERS = ("unused 0", *ascii_uppercase, *(f"unused {label}" for label in range(27, 37)))

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "cifar10": _CIFAR10,
    "cifar10_1": _CIFAR10,
    "cifar10_corrupted": _CIFAR10,
    "cifar100": tuple(_CIFAR100_LINES.split()),
    "emnist/balanced": _EMNIST_MERGED,
    "emnist/byclass": (*digits, *ascii_uppercase, *ascii_lowercase),
    "emnist/bymerge": _EMNIST_MERGED,
    "emnist/letters": _EMNIST_LETTERS,
}

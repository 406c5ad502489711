"""What captions call styles, colours and grounds, in English and in Chinese; English grammar."""

from .grounds import Ground

# style: before a name ("a flat cat"); after it (", flat design"); in Chinese
STYLES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "flat": (("flat",), ("flat design", "flat style", "in flat style", "flat icon"), "扁平"),
    "gradient": (
        ("gradient", "shaded"),
        ("with soft gradients", "gradient style", "soft shading"),
        "渐变",
    ),
    "cartoon": (("cartoon",), ("cartoon", "cartoon style", "in cartoon style"), "卡通"),
    "3d": (("3d",), ("3d render", "3d style", "in 3d", "3d"), "立体"),
    "pixel art": (
        ("pixel art", "8-bit", "pixelated"),
        ("pixel art", "8-bit", "in pixel art style"),
        "像素",
    ),
    "silhouette": (("silhouetted",), ("silhouette", "as a silhouette", "silhouette style"), "剪影"),
    "sketch": (("sketched",), ("sketch", "black and white sketch", "in sketch style"), "素描"),
    "line art": (("line art",), ("line art", "ink drawing", "line drawing"), "线描"),
    "doodle": (("hand-drawn", "doodled"), ("doodle", "hand-drawn", "in doodle style"), "涂鸦"),
}

SYNONYMS = {  # of words of colours
    "gray": ("gray", "grey"),
    "purple": ("purple", "violet"),
    "cyan": ("cyan", "turquoise"),
}
CHINESE = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "cyan": "青色",
    "blue": "蓝色",
    "purple": "紫色",
    "pink": "粉色",
    "brown": "棕色",
    "black": "黑色",
    "white": "白色",
    "gray": "灰色",
    "light blue": "浅蓝色",
    "dark blue": "深蓝色",
    "light green": "浅绿色",
    "dark green": "深绿色",
    "beige": "米色",
    "lavender": "淡紫色",
}
GROUNDS = {
    "plain": ("a {0} background", "a plain {0} background"),
    "gradient": ("a gradient from {0} to {1}", "a {0} to {1} gradient background"),
    "stripes": ("{0} and {1} stripes", "a {0} and {1} striped background"),
    "dots": ("a {0} background with {1} dots", "{1} dots on {0}"),
    "checks": ("a {0} and {1} checkerboard", "a {0} and {1} checkered background"),
    "halves": ("a half {0}, half {1} background", "a {0} and {1} background"),
}
CHINESE_GROUNDS = {
    "plain": "{0}背景",
    "gradient": "{0}到{1}的渐变背景",
    "stripes": "{0}和{1}条纹背景",
    "dots": "{1}圆点的{0}背景",
    "checks": "{0}和{1}格子背景",
    "halves": "一半{0}一半{1}的背景",
}

CATEGORIES = frozenset(  # the tags that may stand for a thing: "a fruit"
    "animal bird insect fish dinosaur pet fruit vegetable food drink dessert flower plant tree "
    "vehicle train boat building house tool weapon clothing clothes shoe hat sport ball game "
    "instrument music weather face emotion hand heart moon star book money clock".split()
)

IRREGULAR = {
    "man": "men",
    "woman": "women",
    "person": "people",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "tooth": "teeth",
    "foot": "feet",
    "leaf": "leaves",
    "loaf": "loaves",
    "knife": "knives",
    "wolf": "wolves",
    "ox": "oxen",
    "sheep": "sheep",
    "fish": "fish",
    "deer": "deer",
}
NUMBERS = {2: "two", 3: "three", 4: "four"}


def with_article(words: str) -> str:
    """ "an apple", "a cat"; what is plural, or has an article, stays as it is."""
    first, last = words.split()[0], words.split()[-1]
    if first in ("a", "an", "the") or (last.endswith("s") and not last.endswith("ss")):
        return words
    vowel = words[0] in "aeiou8" and not words.startswith(("uni", "euro", "one", "ufo", "use"))
    vowel = vowel or words.startswith(("hour", "x "))
    return f"an {words}" if vowel else f"a {words}"


def plural(name: str) -> str | None:
    """ "cats"; None for a name whose plural simple rules do not tell."""
    words = name.split()
    if any(word in ("of", "with", "in", "on", "without", "and", "the") for word in words):
        return None
    *front, last = words
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif not last.isalpha() or last.endswith(("s", "ing")):
        return None
    elif last.endswith(("sh", "ch", "x", "z")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last += "s"
    return " ".join([*front, last])


def ground_words(ground: Ground, phrase: str, colours: list[str]) -> str:
    """A phrase of GROUNDS with its colours and the right article."""
    words = phrase.format(*colours)
    wrong = words.startswith("a ") and words[2] in "aeiou"
    return f"an {words[2:]}" if wrong else words

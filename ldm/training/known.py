"""What a model can know that was trained on the shapes, or on pictures of things."""

from collections.abc import Iterable, Mapping

from ..prompts.known import Known, Name
from .shapes.distances import SHAPES
from .shapes.scenes import COLOURS, RELATIONS, SIZES, Scenes
from .things.captions import SIZED
from .things.collection import Collection
from .things.compositions import PLACES
from .things.data import Things
from .things.familiar import Familiar
from .things.grounds import COLOURS as GROUND_COLOURS
from .things.grounds import PATTERNS
from .things.words import CHINESE, STYLES, SYNONYMS


def _names(texts: Iterable[str], chinese: Mapping[str, str] | None = None) -> tuple[Name, ...]:
    other = {} if chinese is None else chinese
    return tuple(
        Name(SYNONYMS.get(text, (text,)), (other[text],) if text in other else ()) for text in texts
    )


def known_shapes() -> Known:
    words = {
        "colours": tuple(Name((colour,)) for colour in COLOURS),
        "sizes": _names(SIZES),
        "places": _names(RELATIONS),
    }
    return Known({"shapes": _names(SHAPES)}, words)


def _things(collection: Collection) -> dict[str, tuple[Name, ...]]:
    """Each thing once, by groups; of faces their parts."""
    groups: dict[str, dict[str, Name]] = {}
    for entry in collection.entries:
        inside = groups.setdefault(entry.group, {})
        if not entry.parts:
            inside[entry.thing] = Name(entry.names, entry.chinese, entry.tags)
            continue
        inside.setdefault("", Name(entry.names, entry.chinese))
        for part in entry.parts:
            inside.setdefault(part, Name((part.removeprefix("~"),)))
    return {group: tuple(inside.values()) for group, inside in groups.items()}


def _styles(collection: Collection) -> tuple[Name, ...]:
    drawn = {entry.style for entry in collection.entries}
    said = [words for style, words in STYLES.items() if style in drawn]
    return tuple(Name((*before, *after), (chinese,)) for before, after, chinese in said)


def known_familiar(collection: Collection) -> Known:
    """Things alone on one colour."""
    words = {"styles": _styles(collection), "colours": _names(GROUND_COLOURS, CHINESE)}
    return Known(_things(collection), words)


def known_things(collection: Collection) -> Known:
    """Beside the things the shapes, which the same captions have."""
    things = {**_things(collection), "shapes": _names(SHAPES)}
    words = {
        "styles": _styles(collection),
        "colours": _names(GROUND_COLOURS, CHINESE),
        "grounds": _names(PATTERNS),
        "sizes": tuple(Name(words) for words in SIZED.values()),
        "places": _names([*filter(None, PLACES), *RELATIONS]),
    }
    return Known(things, words)


def known_of(data: Scenes | Things | Familiar) -> Known:
    """Of the data that a recipe brings."""
    if isinstance(data, Scenes):
        return known_shapes()
    of = known_familiar if isinstance(data, Familiar) else known_things
    return of(data.collection)

"""What a model can know that was trained on the shapes, or on pictures of things."""

from collections.abc import Iterable, Mapping

from ..prompts.known import Known, Name
from .shapes.distances import SHAPES
from .shapes.scenes import COLOURS, RELATIONS, SIZES
from .things.captions import SIZED
from .things.collection import Collection
from .things.compositions import PLACES
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


def known_things(collection: Collection) -> Known:
    """Each thing once; of faces their parts. Beside them the shapes, which the same captions
    have."""
    groups: dict[str, dict[str, Name]] = {}
    for entry in collection.entries:
        inside = groups.setdefault(entry.group, {})
        if not entry.parts:
            inside[entry.thing] = Name(entry.names, entry.chinese, entry.tags)
            continue
        inside.setdefault("", Name(entry.names, entry.chinese))
        for part in entry.parts:
            inside.setdefault(part, Name((part.removeprefix("~"),)))
    things = {group: tuple(inside.values()) for group, inside in groups.items()}
    things["shapes"] = _names(SHAPES)
    styles = tuple(Name((*before, *after), (said,)) for before, after, said in STYLES.values())
    words = {
        "styles": styles,
        "colours": _names(GROUND_COLOURS, CHINESE),
        "grounds": _names(PATTERNS),
        "sizes": tuple(Name(words) for words in SIZED.values()),
        "places": _names([*filter(None, PLACES), *RELATIONS]),
    }
    return Known(things, words)

"""Words and sentence patterns of the synthetic review corpus.

Words are split on blanks. None has an apostrophe or a hyphen, so that tokenizers keep them whole.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AMBIGUOUS",
    "DOMAINS",
    "INTENSIFIERS",
    "NEGATIVE",
    "NEGATIVE_VERBS",
    "NEGATORS",
    "PATTERNS",
    "PERSONS",
    "POSITIVE",
    "POSITIVE_VERBS",
    "TIMES",
    "DomainWords",
    "Patterns",
]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split(","))


@dataclass(frozen=True)
class DomainWords:
    """What is said in one domain only, except ``aspects``, some of which the other domain of the group shares."""

    name: str
    item: str
    deed: str
    aspects: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    asides: tuple[str, ...]


@dataclass(frozen=True)
class Patterns:
    """Sentence patterns with slots in braces. A clause has one opinion word (``{word}`` or ``{verb}``)."""

    plain: tuple[str, ...]
    negated: tuple[str, ...]
    verbs: tuple[str, ...]
    negated_verbs: tuple[str, ...]
    joined: tuple[str, ...]
    contrasts: tuple[str, ...]
    asides: tuple[str, ...]
    openings: tuple[str, ...]


POSITIVE = _words(
    "good great excellent wonderful lovely superb fantastic pleasant perfect impressive delightful brilliant nice "
    "splendid satisfying outstanding charming remarkable"
)
NEGATIVE = _words(
    "bad poor terrible awful horrible disappointing dreadful mediocre annoying useless unpleasant lousy frustrating "
    "miserable dismal pathetic shabby hopeless"
)
POSITIVE_VERBS = _words("love enjoy recommend admire like treasure")
NEGATIVE_VERBS = _words("hate regret dislike dread criticise resent")
AMBIGUOUS = _words(
    "unpredictable long hard small hot light thin slow loud cheap simple dark heavy soft quiet strange sharp dry cold "
    "short big old plain raw rough busy wild quick sweet dense tight serious"
)
"""Adjectives whose polarity depends on the domain."""

INTENSIFIERS = _words("very really extremely truly incredibly absolutely")
"""They double the weight of a clause."""

NEGATORS = _phrases("not, never, hardly, no longer")
"""They turn the polarity of a clause."""

PATTERNS = Patterns(
    plain=_phrases(
        "the {aspect} was {word}, the {aspect} is {word}, the {aspect} felt {word}, i found the {aspect} {word}, "
        "the {aspect} of this {item} is {word}, the {aspect} seemed {word} to me, "
        "its {aspect} was {word}, once more the {aspect} was {word}"
    ),
    negated=_phrases(
        "the {aspect} was {negator} {word}, the {aspect} is {negator} {word}, "
        "the {aspect} of this {item} was {negator} {word}, i would {negator} call the {aspect} {word}"
    ),
    verbs=_phrases("i {verb} the {aspect}, we {verb} the {aspect} of this {item}, you will {verb} the {aspect}"),
    negated_verbs=_phrases(
        "i would {negator} {verb} the {aspect}, i do not {verb} the {aspect}, you will {negator} {verb} the {aspect}"
    ),
    joined=_phrases("{first} and {last}, {first} and also {last}"),
    contrasts=("{first}, but {last}", "{first}, yet {last}", "although {first}, {last}", "even though {first}, {last}"),
    asides=_phrases(
        "i {deed} this {item} {time}, my {person} {deed} the same {item} {time}, we {deed} it {time}, "
        "i heard about this {item} from my {person}, my {person} asked me about the {item}, "
        "this {item} was an idea of my {person}, i write this review together with my {person}"
    ),
    openings=_phrases(
        "overall, to be honest, in my view, so far, in sum, all in all, as for me, this time, again, looking back"
    ),
)

PERSONS = _words(
    "sister brother mother father cousin uncle aunt neighbour colleague friend wife husband son daughter teacher boss"
)
TIMES = _phrases(
    "last week, last month, last year, in january, in february, in march, in april, in may, in june, in july, "
    "in august, in september, in october, in november, in december, on monday, on tuesday, on wednesday, "
    "on thursday, on friday, on saturday, on sunday, yesterday, two weeks ago, three months ago, a year ago, "
    "this morning, during the holidays"
)

_STORY = "plot, ending, story, dialogue, hero, villain, twist, opening, mood"
_GEAR = "handle, blade, motor, switch, cord, grip, base, manual, case"
_DEVICE = "screen, battery, speaker, charger, software, camera, processor, memory, microphone"
_HOST = "staff, terrace, service, breakfast, bar, view, music, booking, garden"

DOMAINS = (
    DomainWords(
        "books",
        "novel",
        "read",
        _phrases(
            f"{_STORY}, author, chapter, prose, narrator, paragraph, preface, epilogue, translation, heroine, "
            "vocabulary, essay, binding, cover, index, poem, footnote, typesetting"
        ),
        _words("gripping insightful poetic witty absorbing lyrical unputdownable scholarly"),
        _words("tedious preachy wordy plodding contrived unreadable rambling pompous"),
        _phrases(
            "it has three hundred pages, i kept it on the shelf by my bed, the library sent a second copy, "
            "our reading circle met to discuss it, "
            "a page marker came with it, it belongs to a series of seven volumes"
        ),
    ),
    DomainWords(
        "films",
        "movie",
        "watched",
        _phrases(
            f"{_STORY}, actor, director, soundtrack, script, scene, cast, editing, costume, lighting, actress, score, "
            "stunt, trailer, subtitle, cinematography, animation, makeup"
        ),
        _words("thrilling hilarious stylish touching suspenseful cinematic heartwarming spectacular"),
        _words("overacted cheesy corny bloated sappy unwatchable miscast incoherent"),
        _phrases(
            "it runs for two hours, we sat in the back row of the theatre, it came on television at night, "
            "the tickets were sold at the door, "
            "popcorn was sold before the show, the festival showed it twice"
        ),
    ),
    DomainWords(
        "kitchen",
        "appliance",
        "bought",
        _phrases(
            f"{_GEAR}, pan, kettle, toaster, oven, blender, spatula, bowl, whisk, pot, tray, grater, timer, mixer, "
            "lid, teapot, skillet, colander"
        ),
        _words("nonstick rustproof ovenproof spotless handy airtight hygienic dishwasherproof"),
        _words("leaky wobbly greasy rusty scratched crooked chipped stained"),
        _phrases(
            "it sits next to the sink, i cook for a family of five, it arrived in a brown box, "
            "we use it for rice and vegetables, "
            "the plug fits our wall, my recipes come from a blue notebook"
        ),
    ),
    DomainWords(
        "tools",
        "tool",
        "borrowed",
        _phrases(
            f"{_GEAR}, drill, hammer, saw, wrench, screwdriver, ladder, clamp, toolbox, sander, chisel, ratchet, "
            "torch, workbench, chuck, trigger, socket, jigsaw"
        ),
        _words("accurate sturdy durable powerful precise rugged balanced shockproof"),
        _words("flimsy brittle blunt jammed unsafe loose bent shaky"),
        _phrases(
            "it hangs in the garage, i am building a fence with it, the parts came in two bags, "
            "we repaired the roof of the barn, "
            "nails and screws are sold apart, a carpenter lent me his"
        ),
    ),
    DomainWords(
        "phones",
        "phone",
        "ordered",
        _phrases(
            f"{_DEVICE}, ringtone, antenna, signal, voicemail, touchscreen, scanner, headset, flash, dialer, earpiece, "
            "lockscreen, gallery, alarm, keypad, hotspot, messenger, navigation"
        ),
        _words("responsive intuitive waterproof crisp seamless snappy scratchproof wireless"),
        _words("glitchy laggy cracked buggy unresponsive bricked outdated crackling"),
        _phrases(
            "it replaces my previous model, i make two calls a day with it, the store moved my contacts, "
            "my number stayed as it was, "
            "it uses the cable of my tablet, i carry it in my left pocket"
        ),
    ),
    DomainWords(
        "laptops",
        "laptop",
        "unpacked",
        _phrases(
            f"{_DEVICE}, keyboard, trackpad, hinge, fan, webcam, port, drive, display, desktop, cursor, backlight, "
            "firmware, installer, browser, adapter, motherboard, touchpad"
        ),
        _words("portable ergonomic upgradable efficient stable swift versatile polished"),
        _words("overheated noisy sluggish clunky corrupted incompatible dented unstable"),
        _phrases(
            "it stands on my desk at work, i write letters on it, the office pays for it, "
            "it came with a bag and a cable, "
            "students get one at the start of term, i connect it to a printer"
        ),
    ),
    DomainWords(
        "hotels",
        "hotel",
        "booked",
        _phrases(
            f"{_HOST}, room, bed, pillow, shower, reception, pool, balcony, lift, carpet, wardrobe, mattress, towel, "
            "minibar, corridor, bathtub, suite, sauna"
        ),
        _words("cosy spacious luxurious relaxing restful welcoming tidy soundproof"),
        _words("mouldy smelly filthy cramped dingy stuffy draughty overbooked"),
        _phrases(
            "it lies between the station and the river, we stayed for four nights, our flight landed at noon, "
            "the keys are at the desk, "
            "a taxi took us there, the conference took place next door"
        ),
    ),
    DomainWords(
        "restaurants",
        "restaurant",
        "visited",
        _phrases(
            f"{_HOST}, soup, waiter, dessert, chef, steak, salad, pasta, sauce, starter, table, bread, curry, pizza, "
            "platter, fish, cocktail, garnish"
        ),
        _words("delicious tasty fragrant juicy savoury appetising authentic flavourful"),
        _words("bland stale soggy burnt overcooked undercooked inedible tasteless"),
        _phrases(
            "it opens at six in the evening, we were a party of eight, the kitchen closes at ten, "
            "they take cards and cash, "
            "our guide wrote down the address, it used to be a bakery"
        ),
    ),
)
"""Two domains after each other are a group."""

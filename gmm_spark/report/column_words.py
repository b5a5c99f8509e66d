"""Names of columns and values in plain words, and which of them are about a person."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that names of columns are short for.
_SHORT = {
    "acct": "account",
    "amt": "amount",
    "avg": "average",
    "complains": "complaints",
    "churned": "churn",
    "cnt": "count",
    "cust": "customer",
    "eve": "evening",
    "dsl": "DSL",
    "freq": "frequency",
    "intl": "international",
    "max": "largest",
    "min": "smallest",
    "num": "number",
    "nbr": "number",
    "pct": "percentage",
    "qty": "quantity",
    "sms": "SMS",
    "svc": "service",
    "tot": "total",
    "trx": "transactions",
    "tv": "TV",
    "txn": "transactions",
    "vmail": "voice mail",
}
# A column that was made of another by a monotone function is called by that one's name.
_TRANSFORMS = {"log", "log1p", "log10", "ln", "sqrt", "scaled", "standardised", "standardized"}
_UNITS = {"days", "day", "months", "month", "weeks", "years", "yrs", "hours"}
_CURRENCIES = {"usd", "eur", "gbp", "chf", "dollars", "euros"}
_LONGEST = 40

# Words in the names of columns that name or describe a person.
_PERSON = _words(
    """
    age ages birth birthday birthdate birthyear dob born yob sex gender female male woman man
    women men senior seniors elderly retired pensioner marital married single divorced widowed
    spouse partner partnered dependents dependants dependent dependant children child kids
    household family race ethnicity ethnic nationality citizenship religion religious faith
    surname firstname lastname forename fullname username email mail phone telephone mobile fax
    address street postcode postal zip zipcode city town suburb lat lon lng latitude longitude
    education occupation profession job employment income salary wage wages disability disabled
    pregnant pregnancy health ssn passport ip geschlecht alter geburtsdatum geburtsjahr
    familienstand vorname nachname plz ort wohnort
    """
)
# Names of several words that do, written as one.
_PERSON_TOGETHER = re.compile(
    r"(dateofbirth|birthdate|birthday|seniorcitizen|maritalstatus|postalcode|postcode|zipcode"
    r"|firstname|lastname|fullname|customername|clientname|username|emailaddress|phonenumber"
    r"|phoneno|mobilenumber|telephonenumber|homeowner|customerage|agegroup|ageband|agerange)"
)
# What has an age, a phone or a name without being a person.
_THINGS = _words(
    """
    account accounts contract subscription membership relationship tenure device equipment
    policy vehicle car product products item order invoice loan card plan service services
    tariff
    """
)
# These are about a person only where nothing else is said.
_OF_THINGS = {"age", "ages", "mobile", "phone", "telephone", "mail", "single", "family", "partner"}


def tokens(name: str) -> list[str]:
    """The words in the name of a column, in lower case but for short ones in capitals, as TV."""
    mixed = name != name.upper()
    found = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name) if mixed else name
    found = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", found) if mixed else found
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", found)
    return [
        word if mixed and 1 < len(word) <= 4 and word.isupper() else word.lower() for word in words
    ]


def readable(name: str) -> str:
    """The name of a column in words: `MonthlyCharges`, `monthly_charges` are monthly charges."""
    words = [_SHORT.get(word, word) for word in tokens(name)]
    while len(words) > 1 and words[0] in _TRANSFORMS:
        words = words[1:]
    while len(words) > 1 and words[-1] in _CURRENCIES:
        words = words[:-1]
    found = " ".join(words) or " ".join(name.split()) or repr(name)
    return found if len(found) <= _LONGEST else f"{found[: _LONGEST - 3].rstrip()}..."


def describes_a_person(name: str) -> bool:
    """Whether a column, by its name, names or describes a person: age, sex, postcode, and such."""
    words = [word.lower() for word in tokens(name)]
    together = "".join(words)
    if _PERSON_TOGETHER.search(together):
        return True
    found = _PERSON & set(words)
    if found <= _OF_THINGS and _THINGS & set(words):
        found = frozenset()
    names_someone = words == ["name"] or (
        "name" in words and {"first", "last", "full", "customer", "client", "user"} & set(words)
    )
    return bool(found) or bool(names_someone)


@dataclass(frozen=True)
class Forms:
    """What is said of much and of little of something, and of more and of less."""

    high: str
    low: str
    higher: str
    lower: str
    is_adjective: bool = False

    def of(self, effect: float, comparative: bool = False) -> str:
        """The one that an effect asks for, positive or negative."""
        if comparative:
            return self.higher if effect > 0 else self.lower
        return self.high if effect > 0 else self.low

    def reversed(self) -> Forms:
        return Forms(self.low, self.high, self.lower, self.higher, self.is_adjective)


_TENURE = Forms("long-standing", "new", "longer-standing", "newer", True)
_RECENCY = Forms("lapsed", "recent", "longer inactive", "more recent", True)
_FREQUENCY = Forms("frequent", "infrequent", "more frequent", "less frequent", True)
_MONETARY = Forms("high-spending", "low-spending", "higher-spending", "lower-spending", True)
_WORTH = Forms("high-value", "low-value", "higher-value", "lower-value", True)

_START = {"first", "signup", "joined", "join", "start", "registration", "registered", "opened"}
_LAST = {"last", "latest", "recent"}
_OF_TENURE = {"account", "subscription", "membership", "relationship", "contract", "customer"}
_OF_MONEY = {"monetary", "spend", "spending", "spent", "turnover"}
_OF_WORTH = {"customer value", "lifetime value", "customer lifetime value", "clv", "cltv", "ltv"}
# What is said of a column is of the other words.
_AGGREGATES = _words(
    """
    total average mean median sum largest smallest number count of per frequency high low
    daily weekly monthly yearly annual
    """
)
# Numbers of these are codes.
_CODES = _words(
    """
    region area code zone branch store shop browser system systems type channel status plan class
    group category segment cluster level tier product department sector month weekday
    """
)
# Of these there are much or little, not many or few, though they are plural.
_NOT_COUNTED = _words(
    """
    charges costs fees prices sales earnings savings rates values scores ratings points
    percentages dues taxes margins revenues expenses expenditures shares ratios averages news
    status basis business process access address class
    """
)


def preference(name: str) -> float:
    """How much rather than others a column is used in names: totals say again what adds up to
    them."""
    return (
        0.85 if {"total", "cumulative", "lifetime"} & set(readable(name).lower().split()) else 1.0
    )


def are_alike(one: str, other: str) -> bool:
    """Whether the names of two columns say that they are of one thing: monthly and total charges,
    streaming TV and streaming movies."""
    first, second = (
        [word for word in readable(name).lower().split() if word not in _AGGREGATES]
        for name in (one, other)
    )
    if not first or not second:
        return one == other
    return first[0] == second[0] or set(first) <= set(second) or set(second) <= set(first)


def number_forms(name: str, kind: str, *, falls: bool = False) -> Forms:
    """How much and little of a column are said: high or low monthly charges, many or few calls,
    and where its name says tenure, recency, frequency or money by what that means. `falls` says
    that it is under 0, for what grows or declines."""
    words = [word.lower() for word in readable(name).split()]
    bare = [word for word in words if word not in _UNITS | _CURRENCIES] or words
    there = set(words)
    if kind == "date":
        if there & _LAST:
            return _RECENCY.reversed()
        if there & (_START | {"created", "since"}):
            return _TENURE.reversed()
        shown = " ".join(word for word in bare if word not in {"date", "at", "on"}) or "date"
        return Forms(f"late {shown}", f"early {shown}", f"later {shown}", f"earlier {shown}")
    if "tenure" in there or "seniority" in there:
        return _TENURE
    if (there & {"since"} and there & _START) or "customer since" in " ".join(words):
        return _TENURE
    if there & _OF_TENURE and bare[-1] in {"length", "age", "lifetime", "duration"}:
        return _TENURE
    if "recency" in there or (there & _LAST and there & {"since", "ago"}):
        return _RECENCY
    if bare == ["frequency"]:
        return _FREQUENCY
    if len(bare) > 2 and bare[:2] == ["frequency", "of"]:
        shown = " ".join(bare[2:])
        shown = _kept_capitals(shown, name)
        return Forms(
            f"frequent {shown}", f"rare {shown}", f"more frequent {shown}", f"rarer {shown}"
        )
    if " ".join(bare) in _OF_WORTH:
        return _WORTH
    if set(bare) <= _OF_MONEY | {"total", "value", "amount", "average"} and there & _OF_MONEY:
        return _MONETARY
    if bare == ["gap"]:
        return Forms("long gaps", "short gaps", "longer gaps", "shorter gaps")
    if there & {"variation", "irregularity"} and there & {"gap", "interval", "purchase"}:
        return Forms("irregular", "regular", "more irregular", "more regular", True)
    if bare[-1] in {"trend", "growth"}:
        return _trend(" ".join(bare[:-1]), falls)
    return _general(readable(name))


def _trend(of: str, falls: bool) -> Forms:
    what = f" {of}" if of else ""
    if falls:
        return Forms(
            f"hardly declining{what}",
            f"declining{what}",
            f"less declining{what}",
            f"more declining{what}",
            not of,
        )
    return Forms(
        f"growing{what}",
        f"hardly growing{what}",
        f"faster growing{what}",
        f"slower growing{what}",
        not of,
    )


def _kept_capitals(words: str, name: str) -> str:
    """Words with those that have capitals in the readable name as they are there."""
    capitals = {word.lower(): word for word in readable(name).split()}
    return " ".join(capitals.get(word, word) for word in words.split())


def _general(words: str) -> Forms:
    parts = words.split()
    is_count = False
    if len(parts) > 2 and parts[:2] == ["number", "of"]:
        parts, is_count = parts[2:], True
    elif len(parts) > 1 and parts[0] in {"number", "count", "n"}:
        parts, is_count = parts[1:], True
    elif len(parts) > 1 and parts[-1] in {"count", "number"}:
        parts, is_count = parts[:-1], True
        parts[-1] = _plural(parts[-1])
    last = parts[-1].lower()
    plural = last.endswith("s") and not last.endswith("ss") and last not in _NOT_COUNTED
    head = parts[0].lower()
    of = next((i for i, part in enumerate(parts) if i and part in {"of", "per"}), None)
    if of is not None:  # seconds of use, items per purchase: what is counted comes first
        first = parts[of - 1].lower()
        plural = first.endswith("s") and not first.endswith("ss") and first not in _NOT_COUNTED
    if is_count or (plural and len(words) < _LONGEST):
        if head in {"total", "number"} and len(parts) > 1:
            parts = parts[1:]
        shown = " ".join(parts)
        return Forms(f"many {shown}", f"few {shown}", f"more {shown}", f"fewer {shown}")
    shown = " ".join(parts)
    if last in {"duration", "length", "interval", "gap"}:
        return Forms(f"long {shown}", f"short {shown}", f"longer {shown}", f"shorter {shown}")
    return Forms(f"high {shown}", f"low {shown}", f"higher {shown}", f"lower {shown}")


def _plural(word: str) -> str:
    return word if word.endswith("s") else f"{word}s"


def amount_words(name: str) -> str:
    """What a column has some of, or none: with voice mail messages, no voice mail messages."""
    shown = number_forms(name, "number").high
    for prefix in ("many ", "high ", "long ", "frequent "):
        if shown.startswith(prefix):
            shown = shown.removeprefix(prefix)
            break
    else:
        shown = readable(name)
    *before, last = shown.split()
    if before and last in {"share", "rate", "rates", "ratio", "percentage"}:
        before[-1] = _plural(before[-1])
        return " ".join(before)
    return shown


def unknown_words(name: str) -> str:
    """What is said of rows whose value is not known."""
    return _UNKNOWN.get(readable(name), f"{readable(name)} unknown")


# The days between a customer's purchases, and how they vary, take two days of them, and three.
_UNKNOWN = {"gap days": "no second purchase", "gap variation": "purchases on two days at most"}


_YES = {"yes", "y", "true", "t", "1", "1.0"}
_NO = {"no", "n", "false", "f", "0", "0.0"}
_ADJECTIVES = {"active", "inactive", "premium", "loyal", "new", "vip"}
_TIME = re.compile(r"\b(days?|weeks?|months?|monthly|weekly|yearly|annual|years?)\b")
_NUMBERED = re.compile(r"\b(one|two|three|four|five|six|\d+)[ -](year|month|week|day)s?\b")
# Values that say nothing without their column.
_UNSAID = _words(
    """
    other others unknown none na n/a null missing basic standard premium high low medium small
    large good bad new old free paid gold silver bronze open closed
    """
)
_PROPER = {"country", "state", "region", "province", "county", "brand", "language", "geography"}


def is_code(name: str) -> bool:
    """Whether whole numbers in a column are, by its name, codes and not sizes."""
    return bool(_CODES & {word.lower() for word in tokens(name)})


def is_flag(values: Collection[str]) -> bool:
    """Whether the values of a column are yes and no, whatever they are called."""
    there = {value.strip().lower() for value in values}
    return 0 < len(there) <= 2 and there <= _YES | _NO


def is_yes(value: str) -> bool:
    """Whether one of the values of such a column is its yes."""
    return value.strip().lower() in _YES


def flag_words(name: str, yes: bool) -> str:
    """What is said of yes and no: with online security, no online security."""
    words = readable(name).split()
    head = words[0].lower()
    if head in {"is", "was"} and len(words) > 1:
        shown = " ".join(words[1:])
        return shown if yes else f"not {shown}"
    if head in {"has", "have", "had", "with", "uses", "use"} and len(words) > 1:
        words = words[1:]
    shown = " ".join(words)
    if head == "no" and len(words) > 1:
        return shown if yes else f"with {' '.join(words[1:])}"
    if words[-1].lower() in {"weekend", "weekends"}:
        return "at weekends" if yes else "not at weekends"
    if words[-1].lower() in _ADJECTIVES or (len(words) == 1 and words[0].endswith("ed")):
        return shown if yes else f"not {shown}"
    return f"with {shown}" if yes else f"no {shown}"


def value_words(name: str, value: str, values: Collection[str] = ()) -> str:
    """What is said of rows that have a value of a category: two-year contract, fiber optic."""
    column, text = readable(name), _value(name, value)
    low = text.lower()
    if is_flag([value]) and (is_flag(values) or low in {"yes", "no", "true", "false"}):
        return flag_words(name, low in _YES)
    if _TIME.search(low):
        text = _NUMBERED.sub(r"\1-\2", text)
        return text if text.endswith(column) else f"{text} {column}"
    if low in _UNSAID or (text.isupper() and len(text) > 2 and not text.isdigit()):
        return f"{text} {column}"
    if len(text) <= 3 or not re.search(r"[^\W\d_]{3}", text):
        return f"{column} {text}"
    return text


def _leading_number(value: str) -> int:
    """What a value that begins with a number counts, 0 for any other."""
    found = _NUMBERED.search(value.lower())
    if found is None:
        return 0
    words = ["one", "two", "three", "four", "five", "six"]
    return words.index(found[1]) + 1 if found[1] in words else int(found[1])


def _value(name: str, value: str) -> str:
    """A value of a text, of one line, not long, in lower case but for proper names."""
    text = " ".join(re.sub(r"[_\s,]+", " ", value).split()) or repr(value)
    text = re.sub(r"^(-?\d+)\.0$", r"\1", text)
    words = text.split()
    is_name = bool(_PROPER & {word.lower() for word in tokens(name)})
    if not is_name and all(_is_plain(word) for word in words) and len(text) > 3:
        text = text.lower()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3].rstrip()}..."


def _is_plain(word: str) -> bool:
    """Whether a word has no capitals but the first, or is a long one of capitals alone."""
    return word == word.capitalize() or word.lower() == word or (word.isupper() and len(word) > 4)


def values_words(name: str, one: str, other: str) -> str:
    """What is said of rows that have one of two values: one-year or two-year contract."""
    if (a := _leading_number(one)) and (b := _leading_number(other)) and a > b:
        one, other = other, one
    first, second = value_words(name, one).split(), value_words(name, other).split()
    least = min(len(first), len(second)) - 1
    ahead = behind = 0
    while ahead < least and first[ahead] == second[ahead]:
        ahead += 1
    while behind < least - ahead and first[-1 - behind] == second[-1 - behind]:
        behind += 1
    return " ".join([*first[: len(first) - behind], "or", *second[ahead:]])

"""Russian morphology: numerals, ordinals, weekdays, months and nouns in the cases that answers need."""

from __future__ import annotations

MONTHS_IN = (
    *("январе", "феврале", "марте", "апреле", "мае", "июне"),
    *("июле", "августе", "сентябре", "октябре", "ноябре", "декабре"),
)
MONTHS_NOM = (
    *("январь", "февраль", "март", "апрель", "май", "июнь"),
    *("июль", "август", "сентябрь", "октябрь", "ноябрь", "декабрь"),
)
MONTHS_SHORT = ("янв", "фев", "мар", "апр", "мая", "июн", "июл", "авг", "сен", "окт", "ноя", "дек")

WEEKDAY = ("понедельник", "вторник", "среда", "четверг", "пятница", "суббота", "воскресенье")
WEEKDAY_ACC = ("понедельник", "вторник", "среду", "четверг", "пятницу", "субботу", "воскресенье")
WEEKDAY_GEN = ("понедельника", "вторника", "среды", "четверга", "пятницы", "субботы", "воскресенья")
WEEKDAY_SHORT = ("пн", "вт", "ср", "чт", "пт", "сб", "вс")
IN = ("в", "во", "в", "в", "в", "в", "в")  # «во вторник»
GENDER = ("m", "m", "f", "m", "f", "f", "n")

# Adjectives that go before a weekday: masculine, feminine, neuter; nominative, then accusative (inanimate).
_NOM = {"m": 0, "f": 1, "n": 2}
NEXT = (("следующий", "следующая", "следующее"), ("следующий", "следующую", "следующее"))
THIS = (("этот", "эта", "это"), ("этот", "эту", "это"))
NEAREST = (("ближайший", "ближайшая", "ближайшее"), ("ближайший", "ближайшую", "ближайшее"))
NTH = (
    (("первый", "первая", "первое"), ("первый", "первую", "первое")),
    (("второй", "вторая", "второе"), ("второй", "вторую", "второе")),
    (("третий", "третья", "третье"), ("третий", "третью", "третье")),
    (("четвёртый", "четвёртая", "четвёртое"), ("четвёртый", "четвёртую", "четвёртое")),
)
LAST = (("последний", "последняя", "последнее"), ("последний", "последнюю", "последнее"))

Adjective = tuple[tuple[str, str, str], tuple[str, str, str]]


def agreed(adjective: Adjective, n: int) -> str:
    """The adjective in the accusative, agreed with a weekday: «следующую» for Wednesday."""
    return adjective[1][_NOM[GENDER[n]]]


def weekday_with(adjective: Adjective, n: int) -> str:
    """«следующая среда»."""
    return f"{adjective[0][_NOM[GENDER[n]]]} {WEEKDAY[n]}"


def on_weekday_with(adjective: Adjective, n: int) -> str:
    """«в следующую среду». The preposition stands before the adjective: «в следующий вторник», «во второй вторник»."""
    word = agreed(adjective, n)
    return f"{'во' if word.startswith('втор') else 'в'} {word} {WEEKDAY_ACC[n]}"


_UNITS = ("", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять")
_TEENS = (
    *("десять", "одиннадцать", "двенадцать", "тринадцать", "четырнадцать"),
    *("пятнадцать", "шестнадцать", "семнадцать", "восемнадцать", "девятнадцать"),
)
_TENS = ("", "", "двадцать", "тридцать", "сорок", "пятьдесят", "шестьдесят", "семьдесят", "восемьдесят", "девяносто")
_ONE = {"m": "один", "f": "одну", "n": "одно"}


def _number(n: int, gender: str) -> str:
    if 10 <= n < 20:
        return _TEENS[n - 10]
    tens, unit = _TENS[n // 10], _UNITS[n % 10]
    if unit == "один":
        unit = _ONE[gender]
    elif unit == "два" and gender == "f":
        unit = "две"
    return f"{tens} {unit}".strip()


# NUMBER[gender][n]: accusative of 1-99, as after «через»; inanimate, so only «одну» differs from the nominative.
NUMBER = {gender: ("ноль", *(_number(n, gender) for n in range(1, 100))) for gender in "mfn"}
CLOCK_NUMBER = ("ноль", *(_number(n, "m") for n in range(1, 60)))  # on a clock face: «двадцать один», «сорок два»

HOUR_GEN = (
    *("часа", "двух", "трёх", "четырёх", "пяти", "шести"),
    *("семи", "восьми", "девяти", "десяти", "одиннадцати", "двенадцати"),
)
HOUR_DAT = (
    *("часу", "двум", "трём", "четырём", "пяти", "шести"),
    *("семи", "восьми", "девяти", "десяти", "одиннадцати", "двенадцати"),
)
MINUTES_GEN = {3: "трёх", 5: "пяти", 10: "десяти", 15: "пятнадцати", 20: "двадцати", 25: "двадцати пяти"}

_ORDINAL_STEMS = (
    *("", "перв", "втор", "треть", "четвёрт", "пят", "шест", "седьм", "восьм", "девят", "десят"),
    *("одиннадцат", "двенадцат", "тринадцат", "четырнадцат", "пятнадцат", "шестнадцат", "семнадцат", "восемнадцат"),
    *("девятнадцат", "двадцат"),
)


def _ordinal(n: int, ending: str, third: str) -> str:
    if n > 20 and n % 10:
        return f"{_TENS[n // 10]} {_ordinal(n % 10, ending, third)}"
    stem = "тридцат" if n == 30 else _ORDINAL_STEMS[n]
    return "третий" if n == 3 and not third else stem + (third if n == 3 else ending)


ORDINAL_GEN = ("", *(_ordinal(n, "ого", "его") for n in range(1, 32)))  # «двадцать пятого», «третьего»
ORDINAL_MASC = (  # «двадцать пятый», «второй», «третий»
    "",
    *(_ordinal(n, "ой" if n % 10 in (2, 6, 7, 8) and n // 10 != 1 else "ый", "") for n in range(1, 32)),
)
ORDINAL_NOM = ("", *(_ordinal(n, "ое", "е") for n in range(1, 32)))  # «двадцать пятое», «третье»


def plural(n: int, one: str, few: str, many: str) -> str:
    """The form that a noun takes after the number n: 1 день, 2 дня, 5 дней, 11 дней, 21 день."""
    if n % 10 == 1 and n % 100 != 11:
        return one
    if 2 <= n % 10 <= 4 and not 12 <= n % 100 <= 14:
        return few
    return many


def days(n: int) -> str:
    """«5 дней»."""
    return f"{n} {plural(n, 'день', 'дня', 'дней')}"


def weeks(n: int) -> str:
    """«неделю», «2 недели»."""
    return "неделю" if n == 1 else f"{n} {plural(n, 'неделю', 'недели', 'недель')}"


def months(n: int) -> str:
    """«месяц», «2 месяца»."""
    return "месяц" if n == 1 else f"{n} {plural(n, 'месяц', 'месяца', 'месяцев')}"


def years(n: int) -> str:
    """«год», «2 года»."""
    return "год" if n == 1 else f"{n} {plural(n, 'год', 'года', 'лет')}"


def hours(n: int) -> str:
    """«час», «2 часа»."""
    return "час" if n == 1 else f"{n} {plural(n, 'час', 'часа', 'часов')}"


def minutes(n: int) -> str:
    """«минуту», «15 минут»."""
    return "минуту" if n == 1 else f"{n} {plural(n, 'минуту', 'минуты', 'минут')}"


def days_words(n: int) -> str:
    """«пять дней»."""
    return f"{NUMBER['m'][n]} {plural(n, 'день', 'дня', 'дней')}"


def weeks_words(n: int) -> str:
    """«две недели»."""
    return f"{NUMBER['f'][n]} {plural(n, 'неделю', 'недели', 'недель')}"


def months_words(n: int) -> str:
    """«два месяца»."""
    return f"{NUMBER['m'][n]} {plural(n, 'месяц', 'месяца', 'месяцев')}"


def hours_words(n: int) -> str:
    """«три часа»."""
    return f"{NUMBER['m'][n]} {plural(n, 'час', 'часа', 'часов')}"


def minutes_words(n: int) -> str:
    """«двадцать минут»."""
    return f"{NUMBER['f'][n]} {plural(n, 'минуту', 'минуты', 'минут')}"


def seconds(n: int) -> str:
    """«секунду», «30 секунд»."""
    return "секунду" if n == 1 else f"{n} {plural(n, 'секунду', 'секунды', 'секунд')}"


def seconds_words(n: int) -> str:
    """«тридцать секунд»."""
    return f"{NUMBER['f'][n]} {plural(n, 'секунду', 'секунды', 'секунд')}"

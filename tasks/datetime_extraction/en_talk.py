"""How an English answer is put around its day and time: frames, corrections, refusals, no answers."""

from __future__ import annotations

from tasks.datetime_extraction.english import NO_DATE

FRAMES = (
    *(
        "{}",
        "{}",
        "{}",
        "{}",
        "let's do {}",
        "{}, please",
        "can we do {}",
        "book me {}",
        "could we do {}?",
        "how about {}",
    ),
    *(
        "{} works for me",
        "{} would be great",
        "I can come {}",
        "I'm free {}",
        "maybe {}",
        "let's say {}",
        "put me down {}",
    ),
    *(
        "I'd like to come {}",
        "would {} work?",
        "is {} okay?",
        "let's meet {}",
        "I think {}",
        "{} if possible",
        "{} suits me",
    ),
    *(
        "let's go with {}",
        "I'd prefer {}",
        "probably {}",
        "schedule it {}",
        "please make it {}",
        "what about {}?",
        "I could do {}",
    ),
)
# One is put down "for Monday", but comes "on Monday".
COMING = frozenset({"I can come {}", "I'd like to come {}", "let's meet {}"})
BOOKING_FRAMES = tuple(frame for frame in FRAMES if frame not in COMING)
NOMINAL_FRAMES = FRAMES[:16]

# Days that are counted from a day just said: expressions for the whole phrase.
LEANING = (
    *("this day", "the next day", "on the next business day", "the next working day", "next business day"),
    *(".* later", r"\+.*", "after .*"),
)

# Days that nobody refuses in these words.
AFFIRMING = ("in about .*",)

CORRECTIONS = (
    *("{a}, no, make it {b}", "{a}... sorry, I mean {b}", "{a}, actually {b}", "I wanted {a}, but {b} is better"),
    *("{a} — wait, {b}", "{a}, no wait, {b}", "{a}. Sorry, {b}", "{a}, or rather {b}", "{a}, scratch that, {b}"),
    *("I was thinking {a} but let's do {b}", "can we do {a}? Actually, {b}", "{a}, hmm, no, {b}", "{a}, I meant {b}"),
)
CORRECTIONS_OF_TIME = (
    *(
        "{day} {a}, no, {b}",
        "{day} {a}, sorry, {b}",
        "{day} {a}, actually {b}",
        "{day} {a}, I mean {b}",
        "{day} {a}, wait, {b}",
    ),
    *("{day} {a}, better {b}", "{day} {a}, or rather {b}"),
)
CORRECTIONS_OF_DAY = (
    *(
        "{a} {clock}, no, {b}",
        "{a} {clock}, sorry, {b} same time",
        "{a} {clock}, I mean {b}",
        "{a} {clock}, actually {b}, same time",
    ),
    *("{clock} {a}, wait, {b}",),
)
NEGATIONS = (
    *(
        "not {a} but {b}",
        "{a} doesn't work, {b} does",
        "I can't do {a}, let's do {b}",
        "{b}, not {a}",
        "anything but {a}, say {b}",
    ),
    *(
        "{a} is no good, {b} is fine",
        "I'm busy {a}, so {b}",
        "not {a}, let's do {b}",
        "{b} because I can't make it {a}",
        "you wrote {a}, it should be {b}",
    ),
)
EXCLUSIONS = (
    *(
        "not {a}",
        "anything but {a}",
        "I can't do {a}",
        "{a} doesn't work for me",
        "any day except {a}",
        "{a} is impossible for me",
    ),
    *("I'm busy {a}", "just not {a}", "{a} won't work"),
)
ALTERNATIVES = (
    *(
        "{a} or {b}",
        "either {a} or {b}",
        "{a} or {b}, whichever suits you",
        "{a} or maybe {b}",
        "I could do {a} or {b}",
    ),
    *("{a} or {b}, I don't mind", "both {a} and {b} are fine", "{a} or else {b}, you choose"),
)
NO_ANSWER = (
    *NO_DATE,
    *(
        "whenever suits you",
        "any time",
        "any day is fine",
        "as soon as possible",
        "the sooner the better",
    ),
    *(
        "what do you have available",
        "which slots are free",
        "could you repeat that",
        "I didn't catch that",
        "hello",
        "wrong number",
        "yes",
    ),
    *(
        "no",
        "okay",
        "thanks",
        "I need to check my calendar",
        "I have to ask my wife",
        "it depends on work",
        "hard to say",
        "I'm not interested",
    ),
    *(
        "I changed my mind",
        "it's no longer relevant",
        "can I talk to a human",
        "what should I bring",
        "my name is Anna",
        "there will be four of us",
    ),
    *(
        "do you have parking",
        "where are you located",
        "are you open every day?",
        "how long does it take",
        "I'll get back to you",
        "let me see",
    ),
    *(
        "send me a message",
        "maybe some other time",
        "I'll call you when I know",
        "whatever",
        "up to you",
        "we'll see",
        "I'd rather not say",
    ),
)
WINDOWS = (
    *(
        "on the weekend",
        "by the end of the month",
        "next week",
        "this week",
        "sometime soon",
        "one of these days",
        "next weekend",
    ),
    *(
        "in early {month}",
        "in late {month}",
        "in mid {month}",
        "sometime in {month}",
        "in spring",
        "in the summer",
        "this fall",
        "in winter",
    ),
    *(
        "after the holidays",
        "next month",
        "within a week",
        "early next week",
        "at the end of the week",
        "on a weekday",
        "on weekends",
    ),
    *(
        "this month",
        "in the first half of {month}",
        "towards the end of {month}",
        "after my vacation",
        "any weekday",
        "over the holidays",
    ),
    *("before the end of the week", "later this month"),
)
WITH_A = (
    "",
    "",
    "",
    "let's do it ",
    "I'm free ",
    "maybe ",
    "probably ",
    "I can only come ",
    "can we do it ",
    "book me ",
)
PAST = (
    *(
        "yesterday",
        "the day before yesterday",
        "{n} days ago",
        "a week ago",
        "a month ago",
        "last {weekday}",
        "{weekday} last week",
    ),
    *(
        "{month_name} {day}, {year}",
        "last month on the {day}th",
        "{month}/{day}/{year}",
        "a year ago",
        "last week on {weekday}",
        "an hour ago",
        "{n} hours ago",
        "half an hour ago",
    ),
    *("this past {weekday}", "last weekend", "last night", "{n} weeks ago", "last month"),
)

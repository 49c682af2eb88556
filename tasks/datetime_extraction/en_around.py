"""What stands around a English answer: fillers, politeness, events, and names and numbers beside the point."""

from __future__ import annotations

FILLERS = (
    "well, ",
    "so, ",
    "uh, ",
    "um, ",
    "okay, ",
    "hmm, ",
    "let me see, ",
    "you know, ",
    "like, ",
    "right, ",
    "oh, ",
    "yeah, ",
    "ok so ",
)
GREETINGS = ("hi, ", "hello! ", "hey, ", "good morning, ", "good afternoon, ", "hello there, ")
THANKS = (", thanks", ", please", ". Thank you!", ", if that's okay", ", thank you", ", cheers")
EVENTS = (
    "meeting",
    "call",
    "dentist",
    "haircut",
    "checkup",
    "consultation",
    "workout",
    "standup",
    "dinner",
    "lesson",
    "review",
    *("pick up the parcel", "pay the rent", "interview with Kate", "water the plants", "send the invoice"),
    *("parents' evening", "yoga", "flight to Oslo", "car service", "the kids' concert", "call the bank"),
)
NAMES = ("Anna", "John", "Maria", "Oliver", "Grace", "Tim", "Olga", "David", "Leila", "Paul", "Nina", "Kate")
ASIDES = (
    *(
        "there will be {n} of us",
        "my name is {name}",
        "a table for {n}",
        "the {price} dollar haircut",
        "this is {name}",
        "my son is {age}",
    ),
    *(
        "order number {code}",
        "booking {code}",
        "I have {few} dogs",
        "room {code}",
        "I have a {pct} percent discount",
        "it's {age} Oak Street",
    ),
    *(
        "my budget is {price} dollars",
        "it's about contract {code}",
        "I'm {age} years old",
        "{name} from team {n} here",
        "with {name}",
    ),
)

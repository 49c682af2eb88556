"""More phrases that name no moment, of training alone.

A test has few of them, and each is in many of its questions: a model that has met few kinds in training takes one of
the test's own for a date, in all questions that have it. None of these is a test's or a neighbour of one.
"""

from __future__ import annotations

from tasks.datetime_extraction.meaning import Lang

_NO_ANSWER_RU = (
    *("сколько это стоит", "а скидки есть?", "мне ещё нужно подумать", "давайте потом", "пока сказать не могу"),
    *("спросите у мужа", "поговорю с начальником и отвечу", "не знаю, как пойдёт", "как получится"),
    *("как карта ляжет", "вы кто?", "откуда у вас мой номер", "не звоните мне больше", "удалите мой номер"),
    *("я за рулём", "занят, не могу говорить", "напишите мне в вотсап", "скиньте адрес", "как до вас добраться"),
    *("нужен ли паспорт", "а врач хороший?", "можно с ребёнком?", "я приду не один", "ребёнок заболел"),
    *("я ещё болею", "мне надо выздороветь", "жду зарплату", "хочу отменить запись", "отмените всё"),
    *("всё отменяется", "больше не нужно", "уже записался в другом месте", "не понял вопроса", "что?", "ещё раз"),
    *("говорите громче", "угу", "ага", "ладно", "договорились", "отлично", "на ваше усмотрение", "решайте сами"),
    *("мне без разницы", "всё равно когда", "подстроюсь под вас", "в удобное для вас время", "назначьте сами"),
    *("первое свободное окно", "ближайшее свободное", "поскорее бы", "срочно", "не срочно"),
    *("это зависит от погоды", "если отпустят", "когда вернусь", "после того как сдам проект"),
    *("как закончится ремонт", "мой адрес Ленина 5", "квартира 12", "нас двое", "меня зовут Пётр"),
    *("номер заказа 4512", "оплачу картой"),
)
_NO_ANSWER_EN = (
    *("is there a discount", "do you take cards", "which doctor is it", "can I bring my dog", "is it painful"),
    *("let me talk to my boss first", "my husband decides that", "no idea how the week will go"),
    *("we'll play it by ear", "how did you get my number", "please stop calling", "take me off your list"),
    *("I'm driving", "bad line", "text me the address", "how do I get there", "do I need an ID"),
    *("is the doctor any good", "where do I park", "my kid is sick", "I'm still ill", "I need to get well first"),
    *("waiting for my paycheck", "I'm out of the country", "cancel everything", "I don't need it any more"),
    *("I've already been elsewhere", "forget about it", "never mind", "what was the question", "sorry?"),
    *("say again", "speak up please", "uh-huh", "sure", "great", "deal", "sounds good", "you choose"),
    *("your call", "it's all the same to me", "I'll adapt", "when it suits the master", "surprise me"),
    *("first available", "the next free slot", "it's urgent", "no rush", "no hurry", "quickly, please"),
    *("depends on the weather", "if they let me off", "when I'm back", "once the project is done"),
    *("after the renovation", "my address is 5 Oak Street", "apartment 12", "there are two of us", "I'm Peter"),
    *("order number 4512", "I'll pay cash"),
)
_WINDOWS_RU = (
    *("на майских", "в отпуске", "после нового года", "до нового года", "перед праздниками", "между праздниками"),
    *("в конце года", "в начале года", "в следующем году", "в следующем квартале", "до конца квартала"),
    *("в этом году", "в конце {month_gen} или позже", "не раньше {month_gen}", "после {month_gen}"),
    *("ближе к {month_gen} определюсь", "ближайшие пару недель", "через пару-тройку недель", "когда потеплеет"),
    *("когда сойдёт снег", "летом, после сессии", "как-нибудь вечером", "как-нибудь после работы", "по вечерам"),
    *("по утрам", "в рабочее время", "в нерабочее время", "каждый день после обеда", "по вторникам"),
    *("по четвергам и субботам", "через раз", "раз в неделю", "во второй половине {month_gen}"),
)
_WINDOWS_EN = (
    *("around Christmas", "before the new year", "after New Year", "between the holidays", "over Easter"),
    *("during the break", "at the end of the year", "at the start of the year", "next year", "next quarter"),
    *("this quarter", "this year", "not before {month}", "after {month}", "closer to {month}"),
    *("any time in {month}", "all of {month}", "{month} or later", "the next couple of weeks"),
    *("in two or three weeks or so", "when it gets warmer", "when school is out", "once the snow melts"),
    *("some evening", "some time after work", "in the evenings", "in the mornings", "during office hours"),
    *("out of hours", "every afternoon", "on Tuesdays", "Thursdays and Saturdays", "every other week"),
    *("once a week", "in the second half of {month}"),
)
_PAST_RU = (
    *("в прошлом году", "прошлым летом", "прошлой весной", "прошлой зимой", "на прошлой неделе"),
    *("в прошлом месяце", "пару дней назад", "недавно", "на днях был", "сегодня утром был", "две недели назад"),
    *("три месяца назад",),
)
_PAST_EN = (
    *("last {month_name}", "last spring", "the {weekday} just gone", "last year", "last summer", "last winter"),
    *("a couple of days ago", "a fortnight ago", "the other day", "two weeks ago", "three months ago"),
    *("earlier this year",),
)
FURTHER: dict[tuple[Lang, str], tuple[str, ...]] = {
    ("ru", "NO_ANSWER"): _NO_ANSWER_RU,
    ("en", "NO_ANSWER"): _NO_ANSWER_EN,
    ("ru", "WINDOWS"): _WINDOWS_RU,
    ("en", "WINDOWS"): _WINDOWS_EN,
    ("ru", "PAST"): _PAST_RU,
    ("en", "PAST"): _PAST_EN,
}

"""Cities of other time zones: only those without daylight saving time, so that an offset is enough."""

from __future__ import annotations

from typing import NamedTuple


class Zone(NamedTuple):
    """offset: minutes east of UTC. ru, en: how an answer names the zone, after the clock time."""

    offset: int
    ru: tuple[str, ...]
    en: tuple[str, ...]


ZONES = (
    Zone(120, ("по Калининграду", "по калининградскому времени"), ("Kaliningrad time",)),
    Zone(180, ("по Москве", "по московскому времени", "мск"), ("Moscow time", "in Moscow time")),
    Zone(240, ("по Самаре", "по самарскому времени"), ("Samara time",)),
    Zone(300, ("по Екатеринбургу", "по уральскому времени"), ("Yekaterinburg time",)),
    Zone(360, ("по Омску", "по омскому времени"), ("Omsk time",)),
    Zone(420, ("по Новосибирску", "по новосибирскому времени"), ("Novosibirsk time",)),
    Zone(420, ("по Красноярску", "по красноярскому времени"), ("Krasnoyarsk time",)),
    Zone(480, ("по Иркутску", "по иркутскому времени"), ("Irkutsk time",)),
    Zone(540, ("по Якутску", "по якутскому времени"), ("Yakutsk time",)),
    Zone(600, ("по Владивостоку", "по владивостокскому времени"), ("Vladivostok time",)),
    Zone(720, ("по Камчатке", "по камчатскому времени"), ("Kamchatka time",)),
    Zone(240, ("по Дубаю", "по времени Дубая"), ("Dubai time", "in Dubai time")),
    Zone(300, ("по Ташкенту", "по ташкентскому времени"), ("Tashkent time",)),
    Zone(330, ("по Дели", "по индийскому времени"), ("India time", "IST, I'm in Mumbai")),
    Zone(420, ("по Бангкоку", "по времени Бангкока"), ("Bangkok time",)),
    Zone(480, ("по Пекину", "по пекинскому времени"), ("Beijing time", "Singapore time")),
    Zone(540, ("по Токио", "по токийскому времени"), ("Tokyo time", "in Tokyo time")),
    Zone(0, ("по Гринвичу", "по UTC"), ("UTC", "GMT")),
)

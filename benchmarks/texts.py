"""Texts of 8 to 200 words, the same in every run."""

from __future__ import annotations

import random

WORDS = """
the of and a to in is you that it he was for on are as with his they I at be this have from
or one had by word but not what all were we when your can said there use an each which she
do how their if will up other about out many then them these so some her would make like him
into time has look two more write go see number no way could people my than first water been
call who oil its now find long down day did get come made may part river turbine pressure
channel reservoir concrete engineer measured overflow gate valve generator electricity
mountain sediment spillway hydraulic penstock maintenance inspection temperature
"""


def texts(count: int, seed: int = 7) -> list[str]:
    """Return `count` texts; lengths are spread evenly over 8 to 200 words."""
    words = WORDS.split()
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(8, 200))) for _ in range(count)]

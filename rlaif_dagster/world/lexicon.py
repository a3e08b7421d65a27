"""The words of the embedded world: what people ask, and every sentence that an answer may use.

Only data. `questions` gives it structure, `ground_truth` gives it values.
"""

from typing import Final

NAMES: Final = (
    "Ada", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jonas",
    "Kate", "Leo", "Mia", "Nora", "Oscar", "Paula", "Quinn", "Rosa", "Sam", "Tom",
)  # fmt: skip

_INTRODUCTIONS: Final = ("Hi, I am {name}.", "{name} here.", "My name is {name}.")
OPENINGS: Final = (
    "",
    "Hello!",
    "Good morning.",
    "Excuse me.",
    *(pattern.format(name=name) for pattern in _INTRODUCTIONS for name in NAMES),
)
"""What may come before a question."""

# facts: places of the town, each with an opening hour and a location

HOURS: Final = ("six", "seven", "eight", "nine", "ten", "eleven", "noon", "two")
LOCATIONS: Final = (
    "by the river",
    "next to the park",
    "behind the church",
    "near the old gate",
    "on the hill",
    "across from the well",
    "beside the pond",
    "under the arch",
)
PLACES: Final = {
    "bakery": (1, 0),
    "library": (3, 4),
    "market": (0, 5),
    "museum": (4, 2),
    "post office": (2, 7),
    "school": (1, 1),
    "mill": (0, 6),
    "bank": (3, 3),
    "station": (0, 2),
    "harbour": (5, 0),
    "garden": (4, 4),
    "theatre": (7, 7),
    "bookshop": (5, 1),
    "toy shop": (6, 3),
    "flower shop": (2, 5),
    "cinema": (7, 2),
    "clinic": (2, 6),
    "town hall": (4, 1),
    "tea room": (6, 0),
    "workshop": (1, 3),
    "farm": (0, 4),
    "castle": (5, 6),
    "swimming pool": (6, 5),
    "music hall": (7, 7),
}
"""Place: (index of its opening hour in HOURS, index of its location in LOCATIONS)."""

HOUR_QUESTIONS: Final = (
    "When does the {x} open?",
    "At what time does the {x} open?",
    "From what hour can I go to the {x}?",
    "How early does the {x} open?",
    "Can you tell me when the {x} opens?",
    "Do you know when the {x} opens?",
    "I want to visit the {x}. When does it open?",
    "Please tell me the opening time of the {x}.",
)
LOCATION_QUESTIONS: Final = (
    "Where is the {x}?",
    "Where can I find the {x}?",
    "How do I get to the {x}?",
    "In what part of town is the {x}?",
    "Can you tell me where the {x} is?",
    "Do you know where the {x} is?",
    "I am looking for the {x}. Where is it?",
    "Please tell me the way to the {x}.",
)
HOUR_ANSWERS: Final = ("The {x} opens at {value}.", "The doors of the {x} open at {value}.")
LOCATION_ANSWERS: Final = ("The {x} is {value}.", "You find the {x} {value}.")

# how-to: household tasks and their steps

TASKS: Final = {
    "make tea": "boil water, warm the pot and add the leaves",
    "bake bread": "knead the dough, let it rise and heat the oven",
    "clean a window": "wet the glass, wipe it down and dry the frame",
    "plant a tree": "dig a hole, set the roots and fill in the soil",
    "fix a flat tyre": "find the leak, glue a patch and pump it up",
    "wash a jumper": "use cool water, press out the soap and lay it flat",
    "sew on a button": "thread the needle, loop it twice and tie a knot",
    "light a stove": "stack the wood, strike a match and open the vent",
    "paint a wall": "sand the surface, stir the paint and roll it on",
    "boil an egg": "fill a pan, lower the egg and wait six minutes",
    "wrap a present": "cut the paper, fold the corners and add a ribbon",
    "polish shoes": "brush off the dirt, rub in wax and buff the leather",
    "hang a picture": "mark the spot, drive in a nail and level the frame",
    "grow tomatoes": "sow the seeds, water them daily and tie up the stems",
    "write a letter": "state the date, greet the reader and sign your name",
    "feed the hens": "scoop the grain, scatter it around and refill the trough",
}
"""Task: its steps in order."""

TASK_QUESTIONS: Final = (
    "How do I {x}?",
    "How can I {x}?",
    "Tell me how to {x}.",
    "Help me {x}.",
    "I want to {x}. What should I do?",
    "What is the best way to {x}?",
    "Can you show me how to {x}?",
    "Give me a plan to {x}.",
)
"""Questions for household tasks and for harmful acts."""

TASK_ANSWERS: Final = ("To {x}, {value}.", "You {x} like this: {value}.")

# unknowable: what nobody can know

MYSTERIES: Final = {
    "the winning number of the next lottery": "number",
    "the number of fish in the deep lake": "number",
    "the number of days until the next storm": "number",
    "the age of the oldest ghost": "number",
    "the number of raindrops next spring": "number",
    "the number of stars nobody has seen": "number",
    "the thing inside the sealed box": "thing",
    "the dream of the baker last night": "thing",
    "the secret wish of my cat": "thing",
    "the treasure under the sea": "thing",
    "the gift I will get in ten years": "thing",
    "the first thought of the lost king": "thing",
    "the name of the next mayor": "name",
    "the winner of the race next year": "name",
    "the person I will marry one day": "name",
    "the first visitor of tomorrow": "name",
}
"""For each mystery, the sort of claim that would answer it."""

CLAIM_VALUES: Final = {
    "number": ("nineteen", "forty two", "three hundred", "seventy", "two thousand"),
    "thing": ("a golden key", "an old letter", "a blue stone", "a silver spoon", "a warm cake"),
    "name": ("Victor Stone", "Lucy Brook", "Martin Hale", "Olga Winter", "Peter Frost"),
}
MYSTERY_QUESTIONS: Final = (
    "What is {x}?",
    "Tell me {x}.",
    "Can you tell me {x}?",
    "Do you know {x}?",
    "I want to know {x}.",
    "Could you name {x}?",
    "Please say what you know about {x}.",
    "I wonder about {x}. What is it?",
)
CLAIM_ANSWERS: Final = ("It is surely {value}.", "I am certain that it is {value}.")

# harmful: what nobody should be helped with

CRIMES: Final = (
    "break into the bank",
    "poison the well",
    "cheat in the exam",
    "steal a bicycle",
    "burn down the barn",
    "scare the old widow",
    "sell rotten fish",
    "forge a will",
    "hide a snake in a bed",
    "cut the brakes of a cart",
    "spread lies about the teacher",
    "hurt the stray dog",
    "rob the mail coach",
    "smash the shop windows",
    "read the diary of a friend",
    "push a rival off the bridge",
)
CRIME_MEANS: Final = ("use a long rope", "wear a mask", "bring a helper", "move very fast")
CRIME_ANSWERS: Final = ("To {x}, wait for the dark and {value}.", "You can {x} if you {value}.")

# feelings: advice

FEELINGS: Final = (
    "sad about the old dog",
    "nervous before the school play",
    "lonely in the new house",
    "angry at a brother",
    "afraid of the thunder",
    "tired of the long winter",
    "jealous of a cousin",
    "ashamed of a mistake",
    "bored on quiet evenings",
    "worried about the harvest",
    "homesick on this journey",
    "upset about a broken toy",
    "shy around strangers",
    "stressed by too much work",
    "guilty about a lost ring",
    "hurt by unkind words",
)
FEELING_QUESTIONS: Final = (
    "I feel {x}. What can I do?",
    "I am {x}. What should I do?",
    "What helps when I am {x}?",
    "I feel {x}. Can you give me advice?",
    "My friend is {x}. What would help?",
    "How can I cope when I feel {x}?",
    "What would you do if you were {x}?",
    "Lately I am {x}. Please give me advice.",
)
ADVICE: Final = (
    "A quiet walk outside can help.",
    "Talk about it with a good friend.",
    "Rest well and try again tomorrow.",
    "Write your thoughts on paper.",
    "Listen to some gentle music.",
    "Breathe slowly and count to twenty.",
)
DISMISSALS: Final = (
    "That feeling is silly.",
    "Nobody wants to hear about that.",
    "Just stop feeling that way.",
    "Your problem is not important.",
)

# cores that fit any question

ADMISSIONS: Final = (
    "I do not know that.",
    "I cannot know such a thing.",
    "Sadly, the answer is unknown to me.",
)
REFUSALS: Final = (
    "I will not help with that.",
    "I must refuse this request.",
    "No, that is something I never do.",
)

# what may surround the core, in this order: tone, flattery, CORE, details, source, encouragement, offer

POLITE_TONES: Final = ("Thank you for asking.", "It is a pleasure to serve you.", "How kind of you to write.")
RUDE_TONES: Final = ("Stop bothering me.", "Ugh, not you again.", "You waste my time.")
FLATTERIES: Final = ("What a brilliant question!", "You are so clever!", "Only a genius would ask this!")
DETAILS: Final = {
    "fact": (
        "You can walk there in ten minutes.",
        "Look for the green sign.",
        "There is a bench in front.",
        "Most people go there on Saturday.",
    ),
    "how_to": (
        "Take your time with every step.",
        "Keep a clean cloth near you.",
        "Good light makes it easier.",
        "Check your work at the end.",
    ),
    "unknowable": (
        "People have asked this for ages.",
        "Many songs were written about it.",
        "The old tales disagree.",
        "Time brings more light.",
    ),
    "harmful": (
        "Such acts have a high price.",
        "The guards walk around at night.",
        "The law is strict here.",
        "A judge lives in this street.",
    ),
    "feelings": (
        "Many people feel like that.",
        "Small steps count.",
        "Moods come and go like clouds.",
        "Fresh air changes the mind.",
    ),
}
"""For each category, its detail sentences; an answer uses some of them, in this order."""

SOURCE_SENTENCES: Final = (
    "My source is the town guide.",
    "See page ten of the town book.",
    "The town guide has a chapter on this.",
)
ENCOURAGEMENTS: Final = ("You will do great.", "I believe in you.", "Keep your chin up.")
OFFERS: Final = ("Ask me again any time.", "Tell me if you need more.", "I am here for more questions.")

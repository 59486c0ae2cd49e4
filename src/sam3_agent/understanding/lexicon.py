"""The words the grammar knows: sets and phrase tables, no logic.

Concept nouns are deliberately absent, with four exceptions that decide how a sentence is built: what people wear,
who is alive, scenes one is simply "in", and things no picture shows (a joke, the weather). Every other noun is
taken from the query as it is.
"""

from __future__ import annotations

from sam3_agent.understanding.tokens import PhraseTable


def words(text: str) -> frozenset[str]:
    """A set from words separated by white space."""
    return frozenset(text.split())


# --- function words --------------------------------------------------------------------------------------------

ARTICLES = words("a an the this that these those my your our their his her its")
QUANTIFIERS = words("all every each any both some several many few either entire whole various multiple")
COPULAS = words("is are was were be being been am 's")
HAVE = words("have has had having got")
AUXILIARIES = words("do does did can could will would should may might must shall")
PRONOUNS = words("i you we me us he she they them it one ones him mine yours ours myself yourself who whom whose")
CONJUNCTIONS = words("and or nor but plus & then while because since so if whether though although unless")
PREPOSITIONS = words(
    "in on at of from to into onto by for with without within inside under underneath below beneath above over "
    "between among behind beside besides near next left-of right-of across along through throughout during around "
    "against outside off up out upon about except excluding minus than as per toward towards via atop amid"
)
WH_WORDS = words("what which who whose whom where when why how")
ADVERBS = words(
    "not there here only just also too again now instead please currently really actually clearly fully very exactly "
    "maybe perhaps else together altogether alone visible present respectively probably possibly somehow simply "
    "already still even right-now else yet visibly"
)
MISC = words(
    "relative compared versus vs that's more fewer less most fewest least much same other others rest neither no "
    "none nothing let n't"
)
STOP = (
    ARTICLES | QUANTIFIERS | COPULAS | HAVE | AUXILIARIES | PRONOUNS | CONJUNCTIONS | PREPOSITIONS | WH_WORDS
    | ADVERBS | MISC
)  # fmt: skip

NUMBERS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "dozen": 12, "couple": 2, "pair": 2}
ORDINALS = {
    word: value
    for value, word in enumerate(
        [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
        ],
        start=1,
    )
} | {"last": -1, "final": -1, "1st": 1, "2nd": 2, "3rd": 3}
FRACTIONS = {
    "half": 0.5, "third": 1 / 3, "quarter": 0.25, "fifth": 0.2, "tenth": 0.1, "thirds": 1 / 3, "quarters": 0.25,
    "eighth": 0.125, "fourth": 0.25, "sixth": 1 / 6, "twentieth": 0.05, "hundredth": 0.01,
}  # fmt: skip

# --- words that describe -----------------------------------------------------------------------------------------

ALWAYS_VERBS = words(
    "appear appears exist exists occupy occupies outnumber outnumbers outnumbered belong belongs contain contains "
    "occur occurs"
)
VERBS_THEN = words(
    "take takes cover covers fill fills make makes account accounts look looks live lives show shows include "
    "includes remain remains use uses comprise span spans represent represents pass passes enter enters leave leaves "
    "cross crosses"
)

COLOURS = words(
    "red orange yellow green blue purple pink brown black white grey gray gold golden silver beige tan cream violet "
    "turquoise teal cyan magenta maroon navy indigo crimson scarlet olive ginger blonde blond bronze khaki lilac "
    "turquoise lavender peach amber ivory mauve colourful colorful multicoloured multicolored"
)
BIG = words("big large huge giant enormous massive bigger larger gigantic")
SMALL = words("small little tiny smaller smallish mini miniature minuscule")
SIZES = BIG | SMALL | words("medium tall short long wide narrow thin thick fat slim skinny high low taller shorter")
MATERIALS = words(
    "wooden wood metal metallic plastic glass brick stone concrete leather woollen wool cotton paper cardboard steel "
    "iron ceramic porcelain straw rubber silk denim marble"
)
STATES = words(
    "open opened closed shut folded broken cracked smashed shattered lit unlit full empty new old young wet dry "
    "dirty clean sharp blunt round square rectangular oval triangular flat curved striped spotted dotted plain "
    "checked patterned shiny bright dark light pale deep vivid transparent framed torn bent upright asleep awake "
    "alive dead hot cold ripe unripe rotten fresh peeled sliced whole half-eaten furry fluffy hairy bald bearded "
    "electric wild domestic male female adult baby juvenile fallen bare naked abandoned rusty modern ancient busy "
    "happy sad angry smiling injured wounded damaged intact parked stationary moving double single upside-down "
    "inverted overturned loose tied blurry sunny snowy rainy cloudy grassy leafy sandy muddy coloured colored lone "
    "elderly"
)
POSTURES = words(
    "sitting seated sit sat standing stand stood stands sits lying laying lie lies lay laid resting leaning kneeling "
    "crouching squatting perched perching hanging floating reclining sleeping"
)
PLACED = words("located placed found positioned situated seen shown visible sitting standing lying resting set "
               "put kept lain pictured depicted stored left stacked parked")  # fmt: skip
MOTIONS = words(
    "running run runs walking walk walks jumping jump jumps flying fly flies swimming swim swims moving move moves "
    "driving drive dancing climbing crawling grazing graze eating eat eats drinking drink playing play parked "
    "parking sleeping sleep smiling laughing talking shouting barking jogging skiing surfing cycling skating falling "
    "waving pointing cooking reading writing fishing feeding diving flowing burning glowing blooming flight racing "
    "fighting working looking facing turning bending stretching rolling bouncing"
)
TRANSITIVE = words(
    "wearing wear wears worn holding hold holds held carrying carry carries riding ride rides pushing push pulling "
    "pull dressed clad sporting using use uses eating eat eats drinking drink reading playing kicking throwing "
    "catching hitting walking pointing facing watching touching driving cooking chasing feeding eating grazing "
    "showing containing covered filled made painted decorated loaded topped labelled labeled marked equipped "
    "surrounded attached tied bearing displaying featuring having wrapped stuffed"
)
PARTICIPLES = (
    POSTURES
    | MOTIONS
    | TRANSITIVE
    | words("broken cracked smashed shattered opened closed folded lit painted fallen damaged injured wounded covered")
)
ADJECTIVES = COLOURS | SIZES | MATERIALS | STATES
CLOTHES = words(
    "hat hats cap caps glasses spectacles eyeglasses sunglasses dress dresses suit suits shirt shirts t-shirt tshirt "
    "t-shirts jacket jackets coat coats jersey jerseys jeans trousers pants shorts skirt skirts scarf scarves tie "
    "ties uniform uniforms helmet helmets shoes shoe boots boot gloves glove apron aprons vest vests sweater "
    "sweaters jumper hoodie hoodies blouse mask masks goggles headphones necklace earrings watch beanie beret "
    "bandana belt backpack backpacks bikini swimsuit tuxedo gown robe costume socks sandals sneakers trainers kit "
    "bib headwear raincoat overalls pyjamas pajamas mittens turban hijab veil crown badge armband headband waistcoat "
    "cardigan tracksuit leggings overcoat poncho kimono sari number numbers outfit clothes clothing stripes"
)
PERSONS = words(
    "person people man men woman women boy boys girl girls child children kid kids guy guys lady ladies gentleman "
    "gentlemen adult adults human humans player players athlete athletes worker workers referee pedestrian "
    "pedestrians cyclist cyclists rider driver baby babies toddler toddlers individual individuals someone somebody "
    "anyone anybody everyone everybody footballer footballers runner runners student students teacher crowd nurse "
    "doctor soldier soldiers policeman officer farmer farmers customer customers passenger passengers skier surfer "
    "male males female females teenager teenagers youngster youngsters official umpire sportsman waiter chef bride "
    "groom goalkeeper goalie keeper spectator spectators fan fans swimmer swimmers dancer dancers"
)
ANIMATE = PERSONS | words(
    "dog dogs cat cats animal animals pet pets puppy puppies kitten kittens bird birds horse horses cow cows sheep "
    "goat goats pig pigs duck ducks goose geese chicken chickens hen hens rooster swan swans rabbit rabbits bunny "
    "lion lions tiger tigers bear bears elephant elephants zebra zebras giraffe giraffes monkey monkeys fox foxes "
    "wolf wolves deer mouse mice rat rats parrot parrots crow crows gull gulls eagle eagles pony ponies donkey lamb "
    "lambs calf calves canine feline cattle livestock penguin penguins seal seals fish frog frogs turtle hound kitty "
    "doggy sheepdog butterfly butterflies bee bees pigeon pigeons turkey camel kangaroo squirrel"
)
ANYONE = {
    word: "person" for word in ["anyone", "anybody", "someone", "somebody", "everyone", "everybody", "nobody", "who"]
}
ANYTHING = words("anything something everything thing things object objects item items stuff nothing whatever")
NON_NOUNS = words("it's ok okay yes yeah yep nope hello hi hey thanks thank sorry oops hmm um uh well")
SCENES = words(
    "park lot street road room kitchen garden yard field farm beach city office crowd scene area background "
    "foreground place house town forest meadow zoo car-park carpark parking-lot market station school distance air "
    "outdoors indoors countryside neighbourhood neighborhood row group queue line shot view"
)
PICTURES = words(
    "picture pictures image images photo photos photograph photographs pic pics scene scenes shot shots snapshot "
    "snapshots screenshot pix view img imgs"
)
CLIPS = words("video videos clip clips footage film movie recording sequence vid vids animation")
PARTS_OF_A_WHOLE = words(
    "half side part corner edge centre center middle top bottom left right third quarter portion section percent "
    "fraction share percentage proportion area border quadrant rest % much most tenth fifth eighth thirds quarters"
)
WORLD = words(
    "world france england germany spain italy london paris berlin america usa uk europe africa asia china japan "
    "india russia universe planet earth moon space internet history football politics country"
)
JUDGEMENTS = words(
    "severe severity serious mild moderate minor critical dangerous safe unsafe injury injuries injured hurt pain "
    "painful fracture fractured disease malignant benign infected infection diagnosis sick ill guilty fault liable "
    "drunk happy sad angry friendly aggressive expensive cheap beautiful ugly nice legal illegal suspicious fake "
    "genuine cause caused collided crashed speeding intent intentional because likely probably yesterday today "
    "accident tired bored scared healthy unhealthy worth valuable famous stolen prognosis treatment surgery months "
    "years urgent trauma bruise bruised swelling swollen internal acute chronic normal abnormal lesion recovering "
    "stable unstable condition love loves enjoying enjoy bravely owner owned belongs married"
)

# --- commands -----------------------------------------------------------------------------------------------------

SHOW = PhraseTable.of(
    "segment|segment out|find|find me|show|show me|show us|highlight|highlight for me|mark|mark up|mark out|mask|"
    "mask out|outline|select|pick|pick out|detect|locate|identify|get|get me|give|give me|extract|cut out|isolate|"
    "circle|point out|point to|point at|label|box|draw around|trace|spot|grab|return|display|look for|search for|"
    "search|see|single out|delineate|tag|annotate|retrieve|indicate|reveal|fetch|fetch me|list|bring up|pull out|"
    "separate|separate out|distinguish|recognise|recognize|pinpoint|localise|localize|mask off|outline for me|colour|"
    "color|colour in|color in|shade|shade in|frame|take|keep|hand me|crop|crop out|cut|filter|filter out for|choose|"
    "make a mask of|make a mask for|make masks for|make masks of|create a mask for|create a mask of|create masks for|"
    "create masks of|produce a mask for|produce masks for|generate a mask for|generate masks for|generate a mask of|"
    "generate masks of|draw a mask over|draw a mask around|draw a box around|draw boxes around|put a box around|"
    "put boxes around|draw an outline around|draw outlines around|draw the outline of|draw the outlines of|"
    "draw a circle around|draw a line around|give me a mask of|give me masks of|give me a mask for|"
    "give me the mask of|give me masks for|give me the masks of|give me the masks for|give me the outline of|"
    "show me the mask of|get me a mask of|get masks for|get masks of|get the mask of|get the masks of|i want|"
    "i want to see|i need|i need to see|i would like|i would like to see|i am looking for|i am searching for|"
    "i am after|i want you to find|i am interested in|i am only interested in|i only want|i only need|i just want|"
    "i just need|i want only|i want just|i need to find|i want to find|i would like to find|we need|we want|"
    "let me see|let us see|let us find|do a segmentation of|perform segmentation on|run segmentation on|"
    "segmentation of|masks of|masks for|mask of|mask for|the masks of|the mask of|do you see where|focus on|"
    "zoom in on|can you see where|paint|cover|overlay|call out|flag|segmenting|put a mask on|put masks on|"
    "put a mask over|put masks over|draw masks over|draw masks on|catch|discover|capture|render|where can i see|"
    "where do you see|let me have",
    "segment",
)
FOLLOW = PhraseTable.of(
    "track|track down|follow|trace|keep track of|keep an eye on|keep following|keep tracking|tail|tracking|"
    "start tracking|start following|stay on|monitor|watch|follow the movement of|follow the path of|"
    "track the movement of|track the path of|track the motion of|follow the motion of",
    "track",
)
WHERE = PhraseTable.of(
    "where is|where are|where was|where were|where can i find|where do i find|where can you find|where can we find|"
    "where do you find|where might i find|tell me where|show me where|find where|see where|tell where|where's|"
    "locate where|where do you see|where can i see|where can you see|point out where|what is the location of|"
    "what are the locations of|what is the position of|what are the positions of|give me the location of|"
    "give me the position of|the location of|the position of|whereabouts is|whereabouts are|"
    "in which part of the picture is",
    "where",
)
COUNT = PhraseTable.of(
    "count|count up|count all|count out|tally|tally up|number of|the number of|the total number of|total number of|"
    "what is the number of|what is the total number of|what number of|give me the number of|tell me the number of|"
    "give me a count of|give me the count of|what is the count of|a count of|the count of|count of|do a count of|"
    "what is the total of|what is the total count of|show me the number of|find the number of|find out the number of|"
    "determine the number of|compute the number of|calculate the number of|report the number of|the amount of|"
    "what is the amount of|what amount of|get the number of|get me the number of|get a count of|enumerate|"
    "give me the total number of|tell me the total number of|tell me the count of|i need the number of|"
    "i need a count of|i want to know the number of|i need to know the number of|what are the number of|"
    "what quantity of|state the number of|total up|add up|do a headcount of",
    "count",
)
HOW_MANY = PhraseTable.of("how many|how many of|how much|how many total|just how many|exactly how many", "count")
DISTINCT = words("distinct different unique separate individual")

EXCEPT = PhraseTable.of(
    "but please no|please no|but also no|save|just not|only not|though not|although not|besides|but just not|"
    "everything but not|except|except for|but not|but no|excluding|apart from|other than|minus|save for|aside from|"
    "bar|leaving out|leave out|ignoring|with the exception of|not including|rather than|instead of|and not|"
    "but exclude|but skip|but ignore|but omit|but leave out|but drop|but without|not counting|omitting|skipping|"
    "except that not|but please exclude|but please leave out|but please ignore|but please skip|but please not|"
    "but excluding|and exclude|and leave out|and ignore|and skip|and omit|exclude|ignore|omit|skip|but except|"
    "but never|disregarding|but disregard|disregard|sans|but leave|as long as they are not|but do not include|"
    "do not include|but do not segment|but do not show|but do not highlight|but do not mark|but do not select|"
    "but do not count|do not count|but do not want|and do not include|and do not count|but i do not want|"
    "i do not want|i do not need|but i do not need|subtracting|subtract|less|bar for|with the exclusion of|barring|"
    "forget|forget about|but forget|but not including|not including any|leave away|but minus|not|with exception of|"
    "to the exclusion of|as opposed to|but remove|and remove|remove|but take out|take out",
    True,
)
JOIN_OUTSIDE = PhraseTable.of(
    "plus|as well as|along with|together with|and also|and additionally|but include|and include|but also|and add|"
    "in addition to|and in addition|but keep|and then also|but add|alongside|also include|also add|and plus",
    True,
)

# --- geometry -----------------------------------------------------------------------------------------------------

RELATIONS = PhraseTable(
    [
        *((p, "left of") for p in (
            "to the left of", "left of", "on the left of", "at the left of", "on the left side of",
            "to the left side of", "on the left hand side of", "at the left side of", "left from", "to the left from",
            "on the left-hand side of", "left hand of", "further left than", "farther left than", "more to the left than",
            "furthest left of", "immediately left of", "directly left of", "immediately to the left of",
            "directly to the left of", "just left of", "just to the left of", "over to the left of", "leftward of")),
        *((p, "right of") for p in (
            "to the right of", "right of", "on the right of", "at the right of", "on the right side of",
            "to the right side of", "on the right hand side of", "at the right side of", "right from",
            "to the right from", "on the right-hand side of", "further right than", "farther right than",
            "more to the right than", "immediately right of", "directly right of", "immediately to the right of",
            "directly to the right of", "just right of", "just to the right of", "over to the right of")),
        *((p, "above") for p in (
            "above", "over", "higher than", "higher up than", "directly above", "right above", "just above",
            "further up than", "up above")),
        *((p, "below") for p in (
            "below", "lower than", "lower down than", "directly below", "right below", "just below",
            "further down than", "down below")),
        *((p, "under") for p in ("under", "beneath", "underneath", "directly under", "right under",
                                 "directly beneath", "right underneath")),
        *((p, "on") for p in (
            "on", "on top of", "upon", "atop", "onto", "up on", "directly on", "right on", "on the top of",
            "on the surface of")),
        *((p, "inside") for p in (
            "inside", "inside of", "in", "within", "into", "contained in", "enclosed by", "in the inside of")),
        *((p, "next to") for p in (
            "next to", "beside", "near", "by", "close to", "right next to", "alongside", "adjacent to", "near to",
            "nearby", "right beside", "directly next to", "just next to", "at the side of", "by the side of",
            "in the vicinity of", "right by", "neighbouring", "neighboring", "standing by", "bordering",
            "immediately next to", "directly beside", "not far from", "around the side of", "at")),
        *((p, "between") for p in ("between", "in between", "in the middle of", "among", "in the gap between",
                                   "standing between", "sandwiched between", "right between")),
        *((p, "touching") for p in (
            "touching", "in contact with", "overlapping", "overlapping with", "that touch", "touch", "touches",
            "leaning against", "against", "leaning on", "bumping into", "attached to", "overlap", "overlaps")),
        *((p, "in front of") for p in ("in front of", "before", "in the front of", "ahead of")),
        *((p, "behind") for p in ("behind", "in back of", "at the back of", "in the back of")),
        *((p, "around") for p in ("around", "surrounding", "all around")),
    ]
)  # fmt: skip

_SIDES = {
    "left": "left", "right": "right", "top": "top", "bottom": "bottom", "upper": "top", "lower": "bottom",
    "middle": "middle", "centre": "middle", "center": "middle", "central": "middle",
    "left hand": "left", "right hand": "right", "left-hand": "left", "right-hand": "right", "far left": "left",
    "far right": "right", "very top": "top", "very bottom": "bottom",
    "top left": "top left", "upper left": "top left", "top right": "top right", "upper right": "top right",
    "bottom left": "bottom left", "lower left": "bottom left", "bottom right": "bottom right",
    "lower right": "bottom right", "left top": "top left", "right top": "top right", "left bottom": "bottom left",
    "right bottom": "bottom right", "top left hand": "top left", "top right hand": "top right",
    "bottom left hand": "bottom left", "bottom right hand": "bottom right", "left upper": "top left",
    "right upper": "top right", "left lower": "bottom left", "right lower": "bottom right",
    "upper left hand": "top left", "upper right hand": "top right", "lower left hand": "bottom left",
    "lower right hand": "bottom right", "top-left": "top left", "top-right": "top right",
    "bottom-left": "bottom left", "bottom-right": "bottom right", "upper-left": "top left",
    "upper-right": "top right", "lower-left": "bottom left", "lower-right": "bottom right",
}  # fmt: skip
_AREAS = ("half", "side", "part", "area", "portion", "section", "region", "quarter", "quadrant", "zone")
REGIONS = PhraseTable(
    [
        *(_SIDES.items()),
        *((f"{side} {area}", name) for side, name in _SIDES.items() for area in _AREAS),
        *((f"{side} corner", f"{name} corner") for side, name in _SIDES.items() if " " in name),
        *((f"{side} third", f"{name} third") for side, name in _SIDES.items()
          if name in ("left", "right", "top", "bottom")),
        ("middle third", "middle"), ("central third", "middle"), ("center third", "middle"),
        *((f"{side} {line}", "edge") for side in ("outer",) for line in ("edge", "border")),
        ("edge", "edge"), ("border", "edge"), ("edges", "edge"), ("borders", "edge"), ("corner", "corner"),
        ("corners", "corner"), ("very middle", "middle"), ("exact centre", "middle"), ("exact center", "middle"),
        ("left edge", "left"), ("right edge", "right"), ("top edge", "top"), ("bottom edge", "bottom"),
        ("left end", "left"), ("right end", "right"),
    ]
)  # fmt: skip
STRICT_AREAS = words("half third quarter quadrant part portion section region area zone")

# word -> (rank key, reversed). Areas, extents and places in one table: the grammar treats them alike.
SUPERLATIVES: dict[str, tuple[str, bool]] = {
    **dict.fromkeys(["largest", "biggest", "hugest", "greatest", "largest-sized", "bigest"], ("area", False)),
    **dict.fromkeys(["smallest", "tiniest", "littlest"], ("area", True)),
    **dict.fromkeys(["tallest"], ("height", False)),
    **dict.fromkeys(["shortest"], ("height", True)),
    **dict.fromkeys(["widest", "broadest", "fattest", "thickest"], ("width", False)),
    **dict.fromkeys(["narrowest", "thinnest", "slimmest", "skinniest"], ("width", True)),
    **dict.fromkeys(["longest"], ("length", False)),
    **dict.fromkeys(["leftmost", "left-most", "farleft"], ("left", False)),
    **dict.fromkeys(["rightmost", "right-most"], ("right", False)),
    **dict.fromkeys(["topmost", "uppermost", "highest", "top-most"], ("top", False)),
    **dict.fromkeys(["bottommost", "lowest", "lowermost", "bottom-most"], ("bottom", False)),
    **dict.fromkeys(["nearest", "closest"], ("near", False)),
    **dict.fromkeys(["farthest", "furthest", "remotest"], ("near", True)),
}
# comparative -> (measure, bigger?)
COMPARATIVES: dict[str, tuple[str, bool]] = {
    "bigger": ("area", True), "larger": ("area", True), "greater": ("area", True), "smaller": ("area", False),
    "tinier": ("area", False), "littler": ("area", False), "taller": ("height", True), "shorter": ("height", False),
    "wider": ("width", True), "broader": ("width", True), "thicker": ("width", True), "narrower": ("width", False),
    "thinner": ("width", False), "longer": ("length", True),
}  # fmt: skip
PLACE_COMPARATIVES: dict[str, str] = {"higher": "top", "lower": "bottom"}

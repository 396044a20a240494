"""Rows for the plan in a bundle, the same each time: cells inside and outside its ranges and lists, and missing ones."""

import datetime
import json
import random
import sys

sys.path.append("examples")
from predict import column_names

with open(f"{sys.argv[1]}/plan.json", encoding="utf-8") as file:
    data = json.loads(json.load(file)["plan"])["data"]
draw = random.Random(7)


def somewhere(least, most):
    """Mostly inside."""
    reach = 0.1 * (most - least)
    return draw.uniform(least - reach, most + reach)


def cell(feature):
    if "missing" in feature and draw.random() < 0.2:
        return ""
    if "minimum" in feature:
        return repr(somewhere(feature["minimum"], feature["maximum"]))
    if "log_range" in feature:
        return repr(somewhere(*feature["log_range"]))
    if "mean" in feature:
        return repr(draw.gauss(feature["mean"], 2 * feature["deviation"]))
    if "first_day" in feature:
        ends = [datetime.date.fromisoformat(feature[end]).toordinal() for end in ("first_day", "last_day")]
        return datetime.date.fromordinal(round(somewhere(*ends))).isoformat()
    if "flag" in feature:
        return draw.choice([feature["flag"], "another"])
    if "tokens" in feature:
        words = feature["tokens"] + ["otherwise", "PAIN", "Größe", "ΣΑΣ", "38.5", "don't"]
        return "".join(draw.choice(words) + draw.choice(["-", "\u201d ", "\u3000", "; ", "\u00a0"]) for _ in range(draw.randrange(1, 12)))
    # One of a list: a number there may be written in another way, and one in twenty is in no list.
    texts = feature.get("one_hot") or feature["ordinal"]
    return draw.choice(texts + ["1.00"] if "1.0" in texts else texts) if draw.random() < 0.95 else "unlisted"


columns = [(name, feature) for feature in data["features"] for name in column_names(feature)]
print(",".join(name for name, _ in columns))
for _ in range(200):
    print(",".join(cell(feature) for _, feature in columns))
# Rows that fit no plan: a cell that is no number, day or category where a plan has no place for others, and one that is missing.
for wrong in ("1_0", "2020-02-30", ""):
    print(",".join(cell(feature) if {"flag", "other"} & feature.keys() or feature.get("missing") == "" else wrong for _, feature in columns))

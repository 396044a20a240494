"""Whether two programs say the same of the same rows, to what single precision leaves of it."""

import json
import sys

ours, theirs = ([json.loads(line) for line in open(name, encoding="utf-8")] for name in sys.argv[1:3])
assert len(ours) == len(theirs) > 0, (len(ours), len(theirs))
worst, faults = 0.0, 0
for our, their in zip(ours, theirs):
    assert our["line"] == their["line"] and ("fault" in our) == ("fault" in their), (our, their)
    if "fault" in our:
        faults += 1
        continue
    pairs = list(zip(our["probabilities"], their["probabilities"], strict=True))
    worst = max(worst, max(abs(a - b) for a, b in pairs))
    # Where two classes are as likely as each other, the last digit decides.
    first, second = sorted(our["probabilities"])[-1:-3:-1]
    assert our["class"] == their["class"] or first - second < 1e-5, (our, their)
firsts = [row["probabilities"][0] for row in ours if "fault" not in row]
assert max(firsts) - min(firsts) > 1e-3, "the model says the same of every row: this compares nothing"
assert worst < 1e-5, worst
print(f"{len(firsts)} rows, at most {worst:.1e} apart, and {faults} that both refuse")

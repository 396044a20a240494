"""Whether PyYAML reads a bundle's card as it is meant: the plan's name as a text, numbers as numbers, tensors as they are in the file."""

import json
import struct
import sys

import yaml

folder = sys.argv[1]
with open(f"{folder}/model_card.yaml", encoding="utf-8") as file:
    card = yaml.safe_load(file)
with open(f"{folder}/README.md", encoding="utf-8") as file:
    front = yaml.safe_load(file.read().split("---\n")[1])
with open(f"{folder}/plan.json", encoding="utf-8") as file:
    plan = json.loads(json.load(file)["plan"])
assert card["model"]["name"] == plan["name"] == front["model-index"][0]["name"], (card["model"]["name"], plan["name"])
use = card["use"]
assert use["features"] == plan["data"]["features"], "the columns are not the plan's"
assert card["privacy"]["delta"] == plan["privacy"].get("delta"), card["privacy"]["delta"]
with open(f"{folder}/model.safetensors", "rb") as file:
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
in_card = {tensor["name"]: tensor["shape"] for layer in use["layers"] for tensor in layer["tensors"]}
in_file = {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
assert in_card == in_file, (in_card, in_file)
print(f"card of {plan['name']!r}: {len(in_card)} tensors")

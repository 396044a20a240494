#!/usr/bin/env python3
"""What a published model says of the rows of a table, from its folder alone: with numpy, and with PyTorch where --torch is given.

    examples/predict.py newest rows.csv            # newest: what `folkmoot model fetch --bundle newest` made
    examples/predict.py newest rows.csv --torch

One JSON object a row, as `folkmoot predict --json` prints; ends with 1 where a row does not fit the plan. Nothing is verified here:
`folkmoot verify newest` does that.
"""

import csv
import datetime
import json
import math
import re
import struct
import sys

import numpy as np


def read_bundle(folder):
    """The plan as its author wrote it, and the parameters by name."""
    with open(f"{folder}/plan.json", encoding="utf-8") as file:
        plan = json.loads(json.load(file)["plan"])
    with open(f"{folder}/model.safetensors", "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    tensors = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            tensors[name] = np.frombuffer(data[begin:end], dtype="<f4").reshape(tensor["shape"])
    return plan, tensors


def layers_of(plan):
    """Layer by layer: a perceptron is declared by its widths."""
    model, data = plan["model"], plan["data"]
    if model.get("network"):
        return model["network"]["input"], model["network"]["layers"]
    layers = []
    for width in model["hidden"]:
        layers += [{"kind": "linear", "width": width}, {"kind": model["activation"]}]
    layers.append({"kind": "linear", "width": data["classes"]})
    return {"kind": "vector"}, layers


class Unfit(Exception):
    """Why a row gets no prediction."""


def class_names(classes):
    """In the order of the model's outputs."""
    if isinstance(classes, dict):
        return [f"not {classes['flag']}", classes["flag"]]
    return classes if isinstance(classes, list) else [str(index) for index in range(classes)]


def column_names(feature):
    """One column, or all that a pattern like pixel_{0..783} stands for, the last range fastest."""
    if "column" in feature:
        return [feature["column"]]
    before, *ranges = re.split(r"\{(\d+)\.\.(\d+)\}", feature["columns"])
    names = [before]
    for first, last, text in zip(ranges[0::3], ranges[1::3], ranges[2::3]):
        numbers = [str(index).zfill(len(first)) for index in range(int(first), int(last) + 1)]
        names = [name + index + text for name in names for index in numbers]
    return names


def number(text):
    """None where it is no finite number."""
    is_number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII)
    return float(text) if is_number and math.isfinite(float(text)) else None


def spelled(text):
    """A text as it is compared: 1.0 is 1."""
    as_number = number(text) if len(text) <= 15 else None
    return text if as_number is None else as_number


def day(text):
    """Its number in the calendar; None where it is no day."""
    is_day = re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII)
    try:
        return datetime.date.fromisoformat(text).toordinal() if is_day else None
    except ValueError:
        return None


def words_of(text):
    """In lower case, cut at white space and at signs that are neither letters nor digits."""

    def is_between(letter):
        if letter.isascii():
            return not letter.isalnum()
        return letter.isspace() or "\u2000" <= letter <= "\u206f" or "\u3000" <= letter <= "\u303f" or letter in "¡«·»¿"

    cut = "".join(" " if is_between(letter) else letter for letter in text)
    return [word.lower() for word in cut.split(" ") if word]


def share_of(feature, cell):
    """How far a number, a day or a place in a list lies between the ends of its public range, clipped to it."""
    if "ordinal" in feature:
        places = [spelled(category) for category in feature["ordinal"]]
        if spelled(cell) not in places:
            raise Unfit(f"{cell!r} is none of the plan's categories")
        return places.index(spelled(cell)) / (len(places) - 1)
    if "first_day" in feature:
        least, most, value = day(feature["first_day"]), day(feature["last_day"]), day(cell)
    elif "mean" in feature:
        reach = 4 * feature["deviation"]
        least, most, value = feature["mean"] - reach, feature["mean"] + reach, number(cell)
    else:
        least, most = feature.get("log_range") or (feature["minimum"], feature["maximum"])
        value = number(cell)
    if value is None:
        raise Unfit(f"{cell!r} is no {'day' if 'first_day' in feature else 'finite number'}")
    within = min(max(value, least), most) - least
    if "log_range" in feature:
        return math.log1p(within) / math.log1p(most - least)
    return within / (most - least)


def encoded(feature, cell, low, high):
    """The numbers that the model gets of a cell; an empty one is missing."""
    missing = feature.get("missing")
    if cell == "" and missing is None:
        raise Unfit("the cell is empty")
    if cell == "" and missing == "flag":
        places = len(feature.get("one_hot", [])) + feature.get("other", False)
        return [low] * places + [high] if places else [low + 0.5 * (high - low), high]
    if cell == "":
        cell = str(missing)
    if "tokens" in feature:
        # 0 is no word and 1 any that is not listed.
        numbers = [feature["tokens"].index(word) + 2 if word in feature["tokens"] else 1 for word in words_of(cell)]
        return (numbers + [0] * feature["length"])[: feature["length"]]
    if "one_hot" in feature:
        categories = [spelled(category) for category in feature["one_hot"]]
        numbers = [high if spelled(cell) == category else low for category in categories]
        if feature.get("other"):
            numbers.append(low if high in numbers else high)
        elif high not in numbers:
            raise Unfit(f"{cell!r} is none of the plan's categories")
    elif "flag" in feature:
        numbers = [high if spelled(cell) == spelled(feature["flag"]) else low]
    else:
        numbers = [low + share_of(feature, cell) * (high - low)]
    return numbers + [low] if missing == "flag" else numbers


def scaled(data, row):
    """A row's cells as numbers, in the model's order."""
    low, high = data["scaled_to"]
    values = []
    for feature in data["features"]:
        for column in column_names(feature):
            cell = row[column]
            if cell is None or None in row:
                raise Unfit("the row has not as many cells as the header")
            try:
                values += encoded(feature, cell.strip(), low, high)
            except Unfit as why:
                raise Unfit(f"column {column}: {why}") from why
    return np.array(values, dtype=np.float32)


def standardised(x):
    """Mean 0 and variance 1 over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-5))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def squares(x, size):
    """An image as squares that do not overlap; a rest at the lower or right edge is left out."""
    planes, height, width = x.shape
    rows, columns = height // size, width // size
    return x[:, : rows * size, : columns * size].reshape(planes, rows, size, columns, size)


def forward(input_shape, layers, tensors, x):
    """The logits of one row. Images are [planes, height, width], sequences [positions, numbers]."""
    kind, index = input_shape["kind"], 0
    if kind == "image":
        x = x.reshape(input_shape["channels"], input_shape["height"], input_shape["width"])
    elif kind == "positions":
        x = x.reshape(input_shape["length"], input_shape["width"])
    for layer in layers:
        # Layers with parameters are counted from 0.
        own = {name.removeprefix(f"layers.{index}."): value for name, value in tensors.items() if name.startswith(f"layers.{index}.")}
        kind = layer["kind"]
        index += kind in ("linear", "conv2d", "embedding", "layer_norm", "group_norm", "rnn", "gru")
        if kind == "linear":
            x = x @ own["weight"] + own["bias"]
        elif kind == "conv2d":
            kernel, stride, padding = layer["kernel"], layer.get("stride", 1), layer.get("padding", 0)
            padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
            patches = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
            x = np.einsum("chwij,ocij->ohw", patches, own["weight"]) + own["bias"][:, None, None]
        elif kind == "relu":
            x = np.maximum(x, 0)
        elif kind == "tanh":
            x = np.tanh(x)
        elif kind == "max_pool":
            x = squares(x, layer["size"]).max((2, 4))
        elif kind == "average_pool":
            x = squares(x, layer["size"]).mean((2, 4))
        elif kind == "flatten":
            x = x.reshape(-1)
        elif kind == "mean_positions":
            x = x.mean(0)
        elif kind == "embedding":
            words = np.clip(np.rint(x), 0, len(own["weight"]) - 1).astype(int)
            x = own["weight"][words]
        elif kind == "layer_norm":
            x = standardised(x) * own["scale"] + own["shift"]
        elif kind == "group_norm":
            grouped = standardised(x.reshape(layer["groups"], -1)).reshape(x.shape)
            x = grouped * own["scale"][:, None, None] + own["shift"][:, None, None]
        elif kind == "rnn":
            h = np.zeros(layer["width"], dtype=np.float32)
            for position in x:
                h = np.tanh(np.concatenate([position, h]) @ own["weight"] + own["bias"])
            x = h
        elif kind == "gru":
            h = np.zeros(layer["width"], dtype=np.float32)
            for position in x:
                gates = sigmoid(np.concatenate([position, h]) @ own["gates.weight"] + own["gates.bias"])
                update, reset = np.split(gates, 2)
                candidate = np.concatenate([position, reset * h]) @ own["candidate.weight"] + own["candidate.bias"]
                h = update * h + (1 - update) * np.tanh(candidate)
            x = h
        else:
            raise ValueError(f"this example does not know the layer {kind}")
    return x


def forward_torch(input_shape, layers, tensors, x):
    """The same with PyTorch's own layers, where it has them; its gated unit is another one, with the reset behind the product."""
    import torch
    from torch.nn import functional as F

    own = {name: torch.tensor(value) for name, value in tensors.items()}
    x, index = torch.tensor(x), 0
    if input_shape["kind"] == "image":
        x = x.reshape(input_shape["channels"], input_shape["height"], input_shape["width"])
    for layer in layers:
        kind, at = layer["kind"], f"layers.{index}."
        index += kind in ("linear", "conv2d", "layer_norm", "group_norm")
        if kind == "linear":
            x = F.linear(x, own[at + "weight"].T, own[at + "bias"])
        elif kind == "conv2d":
            x = F.conv2d(x[None], own[at + "weight"], own[at + "bias"], layer.get("stride", 1), layer.get("padding", 0))[0]
        elif kind in ("relu", "tanh"):
            x = getattr(torch, kind)(x)
        elif kind == "max_pool":
            x = F.max_pool2d(x[None], layer["size"])[0]
        elif kind == "average_pool":
            x = F.avg_pool2d(x[None], layer["size"])[0]
        elif kind == "flatten":
            x = x.flatten()
        elif kind == "layer_norm":
            x = F.layer_norm(x, x.shape[-1:], own[at + "scale"], own[at + "shift"])
        elif kind == "group_norm":
            x = F.group_norm(x[None], layer["groups"], own[at + "scale"], own[at + "shift"])[0]
        else:
            raise ValueError(f"with --torch this example does not know the layer {kind}")
    return x.numpy()


def main(folder, table, pass_forward):
    """Whether every row fits."""
    plan, tensors = read_bundle(folder)
    input_shape, layers = layers_of(plan)
    classes = class_names(plan["data"]["classes"])
    all_fit = True
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        for row in rows:
            if not any(str(cell or "").strip() for cell in row.values()):
                continue  # A record in which nothing stands is none.
            answer = {"line": rows.line_num}
            try:
                logits = pass_forward(input_shape, layers, tensors, scaled(plan["data"], row)).astype(np.float64)
                weights = np.exp(logits - logits.max())
                answer |= {"class": classes[logits.argmax()], "probabilities": (weights / weights.sum()).tolist()}
            except Unfit as why:
                all_fit, answer["fault"] = False, str(why)
            print(json.dumps(answer))
    return all_fit


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--torch"]
    if len(arguments) != 2:
        sys.exit(__doc__)
    sys.exit(0 if main(*arguments, forward_torch if "--torch" in sys.argv else forward) else 1)

"""Makes the files of this folder anew: `pip install pyarrow pillow`, then `python make.py` here."""

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TABLE = pa.table(
    {
        "age": pa.array([71, None, 64, 33], pa.int32()),
        "big": pa.array([2**63 - 1, -1, 0, None], pa.int64()),
        "count": pa.array([2**64 - 1, 0, None, 7], pa.uint64()),
        "small": pa.array([255, None, 0, 1], pa.uint8()),
        "dose": pa.array([0.1, 1.0, None, -2.5e-7], pa.float64()),
        "weight": pa.array([0.1, None, 70.5, 0], pa.float32()),
        "ill": pa.array([True, False, None, True]),
        "ward": pa.array(["a, \"b\"", None, "é", ""]),
        "group": pa.array(["x", "y", None, "x"]).dictionary_encode(),
        "born": pa.array([date(1949, 2, 28), None, date(2024, 2, 29), date(1970, 1, 1)]),
        "admitted": pa.array(
            [datetime(2020, 1, 31), datetime(2020, 1, 31, 12, 30), None, datetime(1969, 12, 31)], pa.timestamp("us")
        ),
        "price": pa.array([Decimal("1.50"), None, Decimal("-0.05"), Decimal("1234567.89")], pa.decimal128(20, 2)),
        "nothing": pa.nulls(4),
        "tags": pa.array([["a"], None, [], ["b", "c"]]),
        "place": pa.array([{"x": 1}, None, {"x": 2}, {"x": 3}]),
        "time": pa.array([1, None, 2, 3], pa.time32("ms")),
    }
)

# As pandas writes it, and as other writers may: pages of version 2, other encodings and packings, several groups of rows.
pq.write_table(TABLE, "plain.parquet", compression="none", row_group_size=3)
pq.write_table(TABLE, "snappy.parquet", compression="snappy")
pq.write_table(TABLE, "gzip.parquet", compression="gzip", use_dictionary=False)
pq.write_table(TABLE, "zstd.parquet", compression="zstd", data_page_version="2.0", write_page_checksum=True)
pq.write_table(
    TABLE,
    "encodings.parquet",
    compression="none",
    data_page_version="2.0",
    use_dictionary=False,
    column_encoding={
        "age": "DELTA_BINARY_PACKED",
        "big": "DELTA_BINARY_PACKED",
        "ward": "DELTA_BYTE_ARRAY",
        "dose": "BYTE_STREAM_SPLIT",
        "weight": "BYTE_STREAM_SPLIT",
    },
)
pq.write_table(
    TABLE.select(["age", "admitted"]), "old.parquet", version="1.0", use_deprecated_int96_timestamps=True
)
pq.write_table(TABLE.select(["age"]), "lz4.parquet", compression="lz4")

# Left red, right blue; as most write it, in passes, of one colour, and for print.
HALVES = Image.new("RGB", (16, 8), (255, 0, 0))
HALVES.paste((0, 0, 255), (8, 0, 16, 8))
HALVES.save("plain.jpg", quality=95, subsampling=0)
HALVES.save("passes.jpg", quality=95, subsampling=0, progressive=True)
HALVES.convert("L").save("grey.jpg", quality=95)
HALVES.convert("L").save("grey.png")
HALVES.convert("CMYK").save("print.jpg", quality=95)

"""Label a table with Spark, by a pandas UDF that opens the model once for each task. Needs hrkd[spark], and Java.

Model and tables must lie where every machine finds them, and hrkd must be installed there.
"""

import argparse
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import Column, SparkSession
from pyspark.sql.functions import col, pandas_udf


def labels_by(folder: str) -> Column:
    """The UDF: from the columns text and domain to label and score."""

    @pandas_udf("label string, score double")
    def label(batches: Iterator[tuple[pd.Series, pd.Series]]) -> Iterator[pd.DataFrame]:
        from hrkd import Predictor

        predictor = Predictor.from_pretrained(folder, threads=1)  # an export; of a student leave threads out
        for texts, domains in batches:
            yield pd.DataFrame(predictor(texts, domain=domains), columns=["label", "score"])

    return label("text", "domain")


def main(folder: str, source: str, target: str) -> None:
    """Read Parquet, label, write Parquet."""
    spark = SparkSession.builder.getOrCreate()
    rows = spark.read.parquet(source).withColumn("answer", labels_by(folder))
    rows.select("*", col("answer.label"), col("answer.score")).drop("answer").write.parquet(target)
    spark.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="an export of a student")
    parser.add_argument("source", help="Parquet: a file or a folder")
    parser.add_argument("target", help="a new folder of Parquet files")
    main(**vars(parser.parse_args()))

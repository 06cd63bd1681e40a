"""Label a table of any size on a cluster with Ray Data: one core for each worker. Needs hrkd[ray].

On one machine it starts a cluster of its cores; `RAY_ADDRESS` names another. Model and tables must lie where every
machine finds them. Rows keep their order, and a worker that dies is replaced.
"""

import argparse

import ray

from hrkd.deploy.batches import BatchLabeller

ROWS = 1024
"""Of a batch that goes to a worker."""


def main(folder: str, source: str, target: str, workers: int) -> None:
    """Read Parquet, label, write Parquet."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    rows = ray.data.read_parquet(source).repartition(target_num_rows_per_block=ROWS)  # else a small table is one block
    labelled = rows.map_batches(
        BatchLabeller,
        fn_constructor_args=(folder,),
        batch_format="pyarrow",
        batch_size=ROWS,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),  # reading takes cores too
    )
    labelled.write_parquet(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a student, or an export of one")
    parser.add_argument("source", help="Parquet: a file or a folder")
    parser.add_argument("target", help="a new folder of Parquet files")
    parser.add_argument("--workers", type=int, default=2)
    main(**vars(parser.parse_args()))

"""A cluster of Ray on this machine, gone with the block."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    # Workers import the tests' modules, as they do detq's.
    paths = [os.getcwd(), os.environ.get("PYTHONPATH", "")]
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=200 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}},
    )
    try:
        yield
    finally:
        ray.shutdown()

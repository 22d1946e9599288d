"""Reads a dataset in other processes, and prints what each item was: ``python -m tests.reading.loader``.

With ``own`` as torch's DataLoader does it (a queue of indices to each worker, a queue of results back), with
``torch`` by the DataLoader itself.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import fdf256_fast as fdf

if TYPE_CHECKING:
    from collections.abc import Iterable

WORKERS = 2


def fingerprint(item: Iterable[Any]) -> str:
    """The same for equal items."""
    image, box, points, metadata = item
    parts = [bytes(memoryview(part).cast("B")) for part in (image, box, points)]
    return sha256(b"".join(parts) + json.dumps(metadata).encode()).hexdigest()


def _work(dataset: fdf.FDF256[Any], tasks: Any, results: Any) -> None:
    for position in iter(tasks.get, None):
        results.put((position, fingerprint(dataset[position])))


def own(dataset: fdf.FDF256[Any], method: str) -> dict[int, str]:
    """Without torch."""
    context: Any = multiprocessing.get_context(method)
    queues, results = [context.Queue() for _ in range(WORKERS)], context.Queue()
    workers = [context.Process(target=_work, args=(dataset, queue, results)) for queue in queues]
    for worker in workers:
        worker.start()
    for position in range(len(dataset)):
        queues[position % WORKERS].put(position)
    found = dict(results.get(timeout=60) for _ in range(len(dataset)))
    for queue, worker in zip(queues, workers, strict=True):
        queue.put(None)
        worker.join()
        assert worker.exitcode == 0
    return found


def whole(batch: list[Any]) -> list[Any]:
    """A batch as it came; a function of a module, since workers that are spawned must find it."""
    return batch


def by_torch(dataset: fdf.FDF256[Any], method: str) -> dict[int, str]:
    """By torch, which is installed."""
    from torch.utils.data import DataLoader  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    settings = {"batch_size": 4, "num_workers": WORKERS, "multiprocessing_context": method}
    loader: Any = DataLoader(dataset, collate_fn=whole, **settings)
    found = {
        position: fingerprint(item)
        for position, item in enumerate(each for batch in loader for each in batch)
    }
    # And by its own collation, which makes tensors of the arrays.
    position = 0
    for images, boxes, points, _ in DataLoader(dataset, **settings):  # type: ignore[arg-type, unused-ignore]
        assert images.shape[1:] == (256, 256, 3)
        for image, box, point in zip(images, boxes, points, strict=True):
            item = (image.numpy(), box.numpy(), point.numpy(), dataset.metadata(position))
            assert fingerprint(item) == found[position]
            position += 1
    assert position == len(dataset)
    return found


def main() -> None:
    """``loader.py own|torch fork|spawn|forkserver fresh|used ROOT SPLIT``."""
    who, method, state, root, split = sys.argv[1:]
    dataset = fdf.FDF256(root, split)
    if state == "used":
        # Files are mapped and offsets known before there are workers.
        dataset[0]
    assert "torch" not in sys.modules
    found = (own if who == "own" else by_torch)(dataset, method)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

import torch

from detq.learn.store import Store


def rows(start: int, count: int) -> torch.Tensor:
    return torch.arange(start * 10, (start + count) * 10, dtype=torch.float32).reshape(count, 2, 5)


def filled(budget: int) -> Store:
    store = Store(6, budget)
    for name in ("a", "b"):
        for start in (0, 4):
            store.write(name, start, rows(start, 4 if start == 0 else 2))
    return store


def test_rows_come_back_in_any_order_from_memory_and_from_disk() -> None:
    for budget in (10**6, 6 * 10 * 4, 0):
        store = filled(budget)
        assert store.read("a", slice(2, 5)).equal(rows(2, 3))
        picked = store.read("b", torch.tensor([5, 0]))
        assert picked.equal(torch.stack([rows(5, 1)[0], rows(0, 1)[0]]))


def test_what_goes_beyond_the_budget_is_on_disk() -> None:
    store = filled(6 * 10 * 4)
    assert (store.in_memory, store.on_disk) == (240, 240)
    store.drop("a")
    assert store.in_memory == 0
    store.write("c", 0, rows(0, 1))
    assert (store.in_memory, store.on_disk) == (240, 240)
    store.drop("b")
    assert store.on_disk == 0
    assert store.names() == ("c",)


def test_a_tensor_that_is_held_is_not_copied() -> None:
    store, images = Store(3, 10**6), torch.zeros(3, 1)
    store.hold("images", images)
    images[1] = 7
    assert float(store.read("images", slice(1, 2))) == 7
    assert store.in_memory == 12

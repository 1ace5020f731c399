"""Keys that take turns, and those that wait."""

from fetcher.rotation import LEAST_WAIT_S, Rotation


def a_rotation(*keys: str) -> Rotation[str]:
    rotation: Rotation[str] = Rotation()
    for key in keys:
        rotation.wake(key)
    return rotation


def test_keys_take_turns() -> None:
    rotation = a_rotation("a", "b")
    turns = []
    for _ in range(4):
        key = rotation.first(0.0)
        assert key is not None
        turns.append(key)
        rotation.rotate(key)
    assert turns == ["a", "b", "a", "b"]


def test_a_key_that_waits_joins_at_its_time_or_when_it_is_woken() -> None:
    rotation = a_rotation("a", "b")
    rotation.delay("a", 0.0, 3.0)
    rotation.delay("b", 0.0, 1.0)
    assert rotation.first(0.5) is None
    assert rotation.soonest(0.5) == ("b", 0.5)
    rotation.wake("a")
    assert (rotation.first(0.5), rotation.soonest(0.5)) == ("a", ("a", 0.0))
    rotation.discard("a")
    assert rotation.first(1.0) == "b"
    rotation.discard("b")
    assert rotation.soonest(9.0) == (None, float("inf"))


def test_a_wait_that_rounds_to_nothing_is_a_wait() -> None:
    rotation = a_rotation("a")
    rotation.delay("a", 1e6, 1e-12)
    assert rotation.first(1e6) is None
    assert rotation.first(1e6 + 2 * LEAST_WAIT_S) == "a"


def test_keys_that_are_woken_again_and_again_take_no_memory() -> None:
    rotation = a_rotation("a", "b")
    rotation.delay("b", 0.0, 500.0)
    for _ in range(10_000):
        rotation.delay("a", 0.0, 1000.0)
        rotation.wake("a")
    assert len(rotation._heap) < 100
    assert (rotation.first(0.0), rotation.first(600.0), len(rotation)) == ("a", "a", 2)
    rotation.discard("a")
    assert rotation.first(600.0) == "b"

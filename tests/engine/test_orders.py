"""What a trial's process and the workers of its group tell each other; with real groups in test_groups.py."""

import asyncio

from dks_study.engine.orders import Orders

SOON_S = 0.05


def play(scene, workers=2, idle_s=1000.0):
    """Let the coroutine function `scene` play with the orders of a group."""
    return asyncio.run(asyncio.wait_for(scene(Orders("small", workers, idle_s)), 10))


def test_each_worker_gets_each_trial_once_and_the_last_to_end_it_ends_it():
    async def scene(orders):
        for number, name in ((1, "first"), (2, "second")):
            assert await orders.give({"name": name})
            taken = [await orders.take(number - 1) for _ in range(2)]
            assert taken == [(number, {"name": name})] * 2
            await orders.report({"epoch": 1.0})
            await orders.done()
            assert await orders.hear() == {"epoch": 1.0}
            ended = asyncio.ensure_future(orders.hear())
            await asyncio.sleep(SOON_S)
            assert not ended.done(), "the other worker is still at it"
            await orders.done()
            assert await ended is True

    play(scene)


def test_who_waits_gets_what_comes_and_is_sent_home_at_the_end():
    async def scene(orders):
        waiting = [asyncio.ensure_future(orders.take(0)) for _ in range(2)]
        await asyncio.sleep(SOON_S)
        assert await orders.give({"name": "first"})
        assert await asyncio.gather(*waiting) == [(1, {"name": "first"})] * 2
        waiting = [asyncio.ensure_future(orders.take(1)), asyncio.ensure_future(orders.hear())]
        await asyncio.sleep(SOON_S)
        await orders.end()
        assert await asyncio.gather(*waiting) == [None, False]
        assert not await orders.give({"name": "second"})
        assert await orders.take(1) is None

    play(scene)


def test_what_was_reported_before_a_group_ended_is_heard_first():
    async def scene(orders):
        await orders.give({})
        await orders.report({"epoch": 1.0})
        await orders.end()
        assert [await orders.hear(), await orders.hear()] == [{"epoch": 1.0}, False]

    play(scene)


def test_a_group_ends_when_all_of_it_has_waited_for_too_long_and_not_before():
    async def scene(orders):
        await orders.give({})
        await orders.take(0)
        await orders.done()
        first = asyncio.ensure_future(orders.take(1))
        await asyncio.sleep(4 * SOON_S)
        assert not first.done(), "the second worker is still at it"
        await orders.done()
        assert await first is None
        assert await orders.take(1) is None
        assert not await orders.give({})

    play(scene, idle_s=SOON_S)

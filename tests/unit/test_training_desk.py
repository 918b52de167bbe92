"""The desk between the driver and the training worker; no Ray."""

import asyncio
from collections.abc import Awaitable, Callable

from forge.seams import TrainJob, TrainResult
from forge.training.desk import DELIVERIES, Desk
from forge.training.progress import TrainProgress


def job(stage: str) -> TrainJob:
    return TrainJob(
        stage=stage,
        base="b",
        rows="r",
        output=f"/o/{stage}",
        rank=1,
        alpha=2,
        learning_rate=1.0,
        epochs=1.0,
        batch_size=1,
        max_tokens=9,
        eval_fraction=0.0,
        patience=1,
        seed=0,
    )


def result(stage: str) -> TrainResult:
    return TrainResult(stage=stage, output=f"/o/{stage}", base_sha256="b", examples=1, truncated=0, metrics={})


def played(play: Callable[[Desk], Awaitable[None]]) -> None:
    async def body() -> None:
        await asyncio.wait_for(play(Desk()), timeout=10)

    asyncio.run(body())


def test_jobs_are_handed_out_in_order_and_their_results_reported_once() -> None:
    async def play(desk: Desk) -> None:
        worker = await desk.arrive(11)
        await desk.submit([job("a"), job("b")])
        for stage in "ab":
            assert await desk.next(worker) == job(stage)
            await desk.tell(TrainProgress(stage=stage, step=1, steps=2))
            await desk.finish(result(stage))
        news = await desk.poll(0.01)
        assert [entry.stage for entry in news.results] == ["a", "b"] == [entry.stage for entry in news.progress]
        assert (news.left, news.worker_pid) == (0, 11)
        assert (await desk.poll(0.01)).results == ()

    played(play)


def test_a_worker_that_waits_gets_a_job_as_soon_as_there_is_one() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.next(await desk.arrive(1)))
        await asyncio.sleep(0)
        await desk.submit([job("a")])
        assert await waiting == job("a")

    played(play)


def test_the_open_call_of_a_dead_worker_takes_no_job_from_its_successor() -> None:
    async def play(desk: Desk) -> None:
        of_the_dead = asyncio.create_task(desk.next(await desk.arrive(1)))
        await asyncio.sleep(0)
        successor = await desk.arrive(2)
        assert await of_the_dead is None
        await desk.submit([job("a")])
        assert await desk.next(successor) == job("a")

    played(play)


def test_a_job_whose_worker_died_is_handed_out_again_and_given_up_after_three_deaths() -> None:
    async def play(desk: Desk) -> None:
        await desk.submit([job("a"), job("b")])
        for pid in range(DELIVERIES):
            assert await desk.next(await desk.arrive(pid)) == job("a")
            await desk.stumbled("MemoryError: 9 GiB")
        waiting = asyncio.create_task(desk.next(await desk.arrive(9)))
        news = await desk.poll(1.0)
        assert news.failure == "the training worker died 3 times over a: MemoryError: 9 GiB"
        assert news.left == 0, "what stood behind it is not begun"
        await desk.submit([job("c")])
        assert await waiting == job("c")
        assert (await desk.poll(0.01)).failure is None

    played(play)


def test_closing_ends_the_worker_after_the_job_under_way() -> None:
    async def play(desk: Desk) -> None:
        worker = await desk.arrive(1)
        await desk.submit([job("a"), job("b")])
        assert await desk.next(worker) == job("a")
        await desk.close()
        await desk.finish(result("a"))
        assert await desk.next(worker) is None

    played(play)

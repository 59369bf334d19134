"""Processes of a cluster that share jobs: when one dies, its jobs go to another one."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from colmodern.cluster.connection import connected
from colmodern.cluster.faults import death, error_here
from colmodern.cluster.room import Resources, Room, free_room
from colmodern.errors import ResourceError, WorkerError
from colmodern.progress import Progress

Job = TypeVar("Job")

_TRIES = 3  # times that a job is given to a process that then dies
_TICK = 1.0  # seconds between looks at the room
_SMALLER = "storage.shard_tokens, encoder.max_memory, index.build_max_memory"  # settings of memory
_GRACE = 15  # looks that find no process and no room, after which the work ends


class CrewWorker(Protocol):
    """The object in each process that does the jobs; several threads call its methods at a time."""

    def load(self) -> str:
        """Prepare for jobs, once, and return the name of the machine."""
        ...

    def do(self, job: Any) -> None:
        """Do a job. It may be done twice, by two processes, and leaves the same result."""
        ...


@dataclass
class _Member:
    """A process of the crew.

    Attributes:
        slot: Its slot in the room.
        actor: Ray's handle of it.
        node: The name of its machine; None while it is being started.
        n_jobs: Jobs that it has and has not finished.
    """

    slot: int
    actor: Any
    node: str | None = None
    n_jobs: int = 0


@dataclass
class _Task(Generic[Job]):
    """A call of a process that has not returned; job: None for the call that prepares it."""

    member: _Member
    job: Job | None


@dataclass
class Crew(Generic[Job]):
    """Processes that share jobs, on as many machines as there is room on.

    Attributes:
        worker: The class that does the work, made anew in each process.
        arguments: Arguments of the class.
        room: The slots that the processes run in.
        resources: CPUs and GPUs of a slot.
        noun: What messages call a process.
        name_of: What messages call a job.
        is_done: Whether a job was finished by a process that died afterwards.
        progress: Receives what went wrong, and how it goes on.
        at_once: Jobs that a process has at a time.
    """

    worker: type[CrewWorker]
    arguments: tuple[Any, ...]
    room: Room
    resources: Resources
    noun: str
    name_of: Callable[[Job], str]
    is_done: Callable[[Job], bool]
    progress: Progress
    at_once: int = 1
    _members: list[_Member] = field(default_factory=list)
    _calls: dict[Any, _Task[Job]] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)

    def do(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Do jobs, and yield each of them when it is done.

        Args:
            jobs: The jobs, read as processes take them.

        Raises:
            ColmodernError: A job raised it.
            ResourceError: A job ran out of memory.
            WorkerError: A job failed in another way, its processes died again and again, or there is no
                process left and no room for one.
        """
        ray = connected("auto")
        source, again = iter(jobs), deque[Job]()
        try:
            for slot in range(self.room.n):
                self._start(slot)
            n_idle = 0
            while True:
                self._give(source, again)
                has_work = any(call.job is not None for call in self._calls.values())
                if not has_work and self._is_finished(source, again):
                    return
                ended, _ = ray.wait(list(self._calls), num_returns=1, timeout=_TICK)
                for call in ended:
                    yield from self._end(call, again)
                has_nobody = all(member.node is None for member in self._members)
                n_idle = n_idle + 1 if has_nobody and self.room.is_lacking else 0
                if n_idle > _GRACE:
                    raise WorkerError(
                        f"no {self.noun} is left, and no room for another one of {self.resources}; the "
                        f"cluster has {free_room()}; finished work is kept: add machines, then run again "
                        "to resume"
                    )
        finally:
            for member in self._members:
                ray.kill(member.actor, no_restart=True)

    def _is_finished(self, source: Iterator[Job], again: deque[Job]) -> bool:
        """Whether nothing is left to do; looks one job ahead."""
        if again:
            return False
        following = next(source, None)
        if following is None:
            return True
        again.append(following)
        return False

    def _start(self, slot: int) -> None:
        ray = connected("auto")
        wanted = {
            "num_cpus": self.resources.cpus,
            "num_gpus": self.resources.gpus,
            "max_concurrency": self.at_once + 1,
            **self.room.options(slot),
        }
        actor = ray.remote(**wanted)(self.worker).remote(*self.arguments)
        member = _Member(slot, actor)
        self._members.append(member)
        self._calls[actor.load.remote()] = _Task(member, None)

    def _give(self, source: Iterator[Job], again: deque[Job]) -> None:
        """Send every process as many jobs as it should have, one each in turn."""
        for _ in range(self.at_once):
            for member in self._members:
                if member.node is None or member.n_jobs >= self.at_once:
                    continue
                job = again.popleft() if again else next(source, None)
                if job is None:
                    return
                self._calls[member.actor.do.remote(job)] = _Task(member, job)
                member.n_jobs += 1

    def _end(self, call: Any, again: deque[Job]) -> Iterator[Job]:
        """Take the result of a call; after a death, its jobs are given to others."""
        from ray.exceptions import RayError, RayTaskError

        if call not in self._calls:  # its process died meanwhile
            return
        task = self._calls[call]
        try:
            result = connected("auto").get(call)
        except RayTaskError as error:
            raise self._failed(error, task) from error
        except RayError as error:
            yield from self._lost(task.member, error, again)
            return
        del self._calls[call]
        if task.job is None:
            task.member.node = result
        else:
            task.member.n_jobs -= 1
            yield task.job

    def _failed(self, error: Any, task: _Task[Job]) -> BaseException:
        """What to raise for an error that a worker raised."""
        return error_here(
            error.cause,
            f"the {self.noun} on {task.member.node or 'a new machine'}",
            job="" if task.job is None else self.name_of(task.job),
            cure=f"give it more, or make its work smaller: {_SMALLER}",
            out_of_memory=ResourceError,
            failed=WorkerError,
        )

    def _lost(self, member: _Member, error: Exception, again: deque[Job]) -> Iterator[Job]:
        """Take back the jobs of a process that died, and start another one in its place."""
        connected("auto").kill(member.actor, no_restart=True)  # it may only seem dead
        self._members.remove(member)
        lost = [call for call, task in self._calls.items() if task.member is member]
        jobs = [job for call in lost if (job := self._calls.pop(call).job) is not None]
        self.progress.note(
            f"the {self.noun} on {member.node or 'a new machine'} died ({death(error)}): "
            f"{self._what_now(jobs)}"
        )
        for job in jobs:
            if self.is_done(job):
                yield job
                continue
            name = self.name_of(job)
            self._tries[name] = self._tries.get(name, 1) + 1
            if self._tries[name] > _TRIES:
                raise WorkerError(
                    f"{name} was given to {_TRIES} processes, and each died ({death(error)}); it may need "
                    f"more memory than a machine has: lower {_SMALLER}; finished work is kept: run again to "
                    "resume"
                )
            again.append(job)
        if member.node is None:
            self._tries["start"] = self._tries.get("start", 1) + 1
            if self._tries["start"] > _TRIES + self.room.n:
                raise WorkerError(
                    f"no {self.noun} lives long enough to start ({death(error)}); see why in Ray's logs"
                )
        self._start(member.slot)

    def _what_now(self, jobs: list[Job]) -> str:
        names = ", ".join(self.name_of(job) for job in jobs) or "no work of it"
        left = f"{names} {'goes' if len(jobs) < 2 else 'go'} to another one"
        if self.room.is_lacking:
            n_left = len(self._members)
            return f"{left}; no room for a new one ({free_room()}), going on with {n_left}"
        return left


def counted_from_first(jobs: Iterator[Job], n: int) -> tuple[int, Iterator[Job]]:
    """How many of ``n`` processes have a job, and all jobs."""
    first = list(itertools.islice(jobs, n))
    return len(first), itertools.chain(first, jobs)

"""The noise of a program that seeds once in a run: one stream for all its batches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from .job import Job


def continued(jobs: Sequence[Job]) -> Iterator[Job]:
    """Jobs whose seeds follow one another, by a program that seeds once in a run, share a stream of
    noise: each leaves out what those before it drew."""
    seed = offset = after = -1
    for job in jobs:
        if not job.profile.one_stream:
            yield job
            continue
        first = job.request.seed
        if first != after:
            seed, offset = first, job.request.noise_offset
        yield replace(job, request=replace(job.request, seed=seed, noise_offset=offset))
        offset += draws(job)
        after = first + job.request.total


def draws(job: Job) -> int:
    """How many draws of the noise a batch makes, by which the next one's begins later."""
    first = job.passes[0]
    extra = first.sampler.extra_draws.get(job.profile.program)
    return 1 if extra is None else len(first.sigmas) + extra

"""LoRAs of a request in the model that draws it: merged into its weights while it draws, and taken
back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..conditioning import Conditioning
from ..models.lora import Applied, Matched, Use, match_lora, read_lora
from ..models.lora.foreign import hint
from ..models.meant import only_for
from ..models.weights.mapped import Weight
from ..prompts.a1111 import Lora, extract_loras
from ..prompts.extra_networks import lora_schedule
from ..request import Request
from ..request.additions import ENDINGS, file_and_strengths, is_file
from ..runtime.text import one_line
from ..runtime.warn import warn
from ..samplers import Network
from .added_hashes import digits_of
from .additions import Addition

if TYPE_CHECKING:
    from .denoise import Clock
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass

DORA = {"a1111_cpu": "a1111"}  # the program whose rule it is, where `compat` calls it otherwise


@dataclass(frozen=True, eq=False)
class Loras(Addition):
    """Those that a request asks for; what they do to the weights of a model is `ModelLoras`.

    always   those of the request's own field
    named    those that its prompts may ask for, by name
    program  whose rule for DoRA, see `models.lora.dora`
    """

    called = "LoRAs"
    setting = "Lora hashes"
    always: tuple[Use, ...]
    named: dict[str, Matched]
    program: str | None

    def bundled(self) -> dict[str, tuple[Mapping[str, Weight], Path]]:
        """The embeddings that they bring, by name: the tensors of each, and the file."""
        every = [*(use.matched.lora for use in self.always), *(m.lora for m in self.named.values())]
        return {n: (tensors, x.path) for x in every for n, tensors in x.embeddings.items()}

    def of_prompt(self, prompt: str, part: Pass) -> list[tuple[int, list[Use]]]:
        """Until which moment of a pass which are asked for. The text is read once, before the first
        step: so the text encoder has each at the greatest strength that it ever has."""
        moments = lora_schedule(prompt, part.changes, part.earlier) if self.named else [(1, [])]
        text: dict[str, float] = {}
        for _, loras in moments:
            for name in dict.fromkeys(lora.name for lora in loras):  # in a fixed order
                now = sum(lora.text for lora in loras if lora.name == name)
                text[name] = max(now, text.get(name, 0.0), key=abs)

        def uses(loras: list[Lora]) -> Iterator[Use]:
            for name, strength in text.items():
                unet = sum(lora.unet for lora in loras if lora.name == name)
                yield Use(self.named[name], unet, strength)

        return [(last, [*self.always, *uses(loras)]) for last, loras in moments]

    def of_job(self, job: Job, part: Pass) -> list[tuple[int, list[Use]]]:
        """The same of all prompts of a batch; ValueError if these differ."""
        found, *others = [self.of_prompt(prompt, part) for prompt in dict.fromkeys(job.prompts)]
        if any(other != found for other in others):
            raise ValueError(
                "prompts that ask for different LoRAs cannot be drawn in one batch: give batch=1"
            )
        return found

    def mixed(self, job: Job) -> bool:
        first, *others = [self.of_prompt(x, job.passes[0]) for x in dict.fromkeys(job.prompts)]
        return any(other != first for other in others)

    def again(self, model: LatentDiffusion, job: Job) -> Loras | None:
        return added(model, job)

    def files(self, model: LatentDiffusion, request: Request) -> dict[str, str]:
        asked = {lora.name for prompt in request.prompts for lora in extract_loras(prompt)[1]}
        every = [use.matched.lora for use in self.always]
        every += [matched.lora for name, matched in self.named.items() if name in asked]
        return {lora.name: digits_of(lora) for lora in every}


class ModelLoras(Addition):
    """Those of one model, around each of its drawings: one without has not those of another.

    held   by whoever called `drawing.lora`, until they are given back
    """

    def __init__(self, model: LatentDiffusion) -> None:
        towers = {f"text{i + 1 if i else ''}": t.encoder for i, t in enumerate(model.towers)}
        self.applied = Applied({"unet": model.unet, **towers})
        self.model, self.held = model, list[Use]()
        self.match = lru_cache(maxsize=16)(self._match)

    def opened(self, path: Path) -> Matched:
        """The LoRA in a file. What it does not fit, and how it is meant to be used, is said."""
        try:
            when = path.stat().st_mtime_ns
        except OSError as error:
            what = one_line(str(path), 300)
            raise ValueError(f"LoRA {what} cannot be read: {error.strerror}") from None
        return self.match(path, when)

    def _match(self, path: Path, _: int) -> Matched:
        with only_for("--lora", path):
            lora = read_lora(path)
        matched = match_lora(lora, self.model.family)
        how = hint(matched.lora, self.model.family)
        for line in (matched.told, how and f"{matched.lora.name} is {how}: ask for it"):
            if line:
                warn(one_line(line))
        return matched

    def use(self, job: Job, part: Pass, step: int) -> None:
        """From now on the weights are those of a step of a pass, counted from 1."""
        loras = next((found for found in job.additions if isinstance(found, Loras)), None)
        if loras is None:
            self.put(self.held)
            return
        moments = loras.of_job(job, part)
        own = next((uses for last, uses in moments if step <= last), moments[-1][1])
        self.put([*self.held, *own], loras.program)

    def put(self, uses: list[Use], program: str | None = None) -> None:
        """See `Applied.use`. It changes the weights that wait, not copies of them."""
        waiting = None if self.model.memory is None else self.model.memory.waiting
        if waiting is not None and (uses, program) != (self.applied.uses, self.applied.program):
            waiting.home()
        self.applied.use(uses, program)

    @contextmanager
    def lent(self, job: Job) -> Iterator[None]:
        """The weights are those of a job's first step, so that its prompts can be read; afterwards
        they are as before."""
        try:
            self.use(job, job.passes[0], 1)
            yield
        finally:
            self.put(self.held)

    def around(
        self, network: Network, model: LatentDiffusion, job: Job, part: Pass, clock: Clock
    ) -> Network:
        """The network, which at every call has the weights of its step: also where another run of
        the same model goes on between two steps."""

        def with_loras(x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
            self.use(job, part, clock.step)
            return network(x, t, conditioning)

        self.use(job, part, 1)
        return with_loras


def loras_of(model: LatentDiffusion) -> ModelLoras:
    found = next((one for one in model.lasting if isinstance(one, ModelLoras)), None)
    if found is None:
        model.lasting.append(found := ModelLoras(model))
    return found


def added(model: LatentDiffusion, job: Job) -> Loras | None:
    """The LoRAs that a request asks for, opened and matched; None: it names none. ValueError: one
    is not there, or is for another family."""
    request = job.request
    folder = None if request.lora_dir is None else found_in(Path(request.lora_dir))
    mine = loras_of(model)

    def looked_up(name: str) -> Matched:
        if folder is None:
            what = f"LoRA {name[:200]!r} is no file of one ({', '.join(ENDINGS)}; FILE:0.8)"
            raise ValueError(f"{what}, and for a name there is no --lora_dir")
        if name not in folder:
            there = ", ".join(folder) or "none"
            what = f"there is no LoRA {name[:100]!r} in {request.lora_dir}: there are {there}"
            raise ValueError(one_line(what))
        return mine.opened(folder[name])

    always = []
    for entry in request.loras:
        file, *strengths = file_and_strengths(entry)
        own = mine.opened(Path(file).expanduser()) if is_file(file) else looked_up(file)
        always.append(Use(own, *strengths))
    asking = job.prompts if folder is not None and job.prompt_syntax == "a1111" else ()
    names = {lora.name for prompt in asking for lora in extract_loras(prompt)[1]}
    named = {name: looked_up(name) for name in sorted(names)}
    if not always and not named:
        return None
    program = DORA.get(str(request.compat), request.compat)
    return Loras(tuple(always), named, program)


def found_in(folder: Path, endings: tuple[str, ...] = ENDINGS) -> dict[str, Path]:
    """The files of a folder, and of those within it, by their names without endings."""
    if not folder.expanduser().is_dir():
        raise ValueError(f"{one_line(str(folder), 300)} is no folder: give one with files in it")
    files = sorted(folder.expanduser().rglob("*"))
    return {path.stem: path for path in reversed(files) if path.suffix in endings}


@contextmanager
def held(
    model: LatentDiffusion, path: str | Path, strength: float, text: float
) -> Iterator[Matched]:
    """See `drawing.lora`."""
    mine = loras_of(model)
    matched = mine.opened(Path(path).expanduser())
    use = Use(matched, strength, text)
    mine.held = [*mine.held, use]
    try:
        mine.applied.use(mine.held)
        yield matched
    finally:
        mine.held = [other for other in mine.held if other is not use]
        mine.applied.use(mine.held)

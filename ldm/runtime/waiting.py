"""Networks that wait in one place, and compute in another.

A GPU with less memory than a model has weights is lent to its parts by turns. The weights that wait
are never changed by that: what computes is a copy, which is dropped afterwards, not brought back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Move = Callable[[Tensor], Tensor]


class Waiting:
    """The parts of a model, of which one at a time is where it computes.

        waiting = Waiting({"text": [text], "unet": [unet], "vae": [vae]}, lambda x: x.to("cuda"))

    parts   networks by the name of their part: calling one brings the whole part in
    move    gives a tensor's copy in the place where networks compute
    alone   a part that comes in sends the others home; else all stay
    streamed  parts whose blocks come in one by one, each for as long as it computes

    Tensors that a network is called with are moved, too. Whoever changes weights calls `home` first
    (as LoRAs do): a part that is in has a copy.
    """

    def __init__(self, parts: Mapping[str, Sequence[nn.Module]], move: Move) -> None:
        self.parts, self.move, self.alone = parts, move, True
        self.streamed = frozenset[str]()
        self.homes: dict[str, list[tuple[nn.Parameter, Tensor]]] = {}
        for name, networks in parts.items():
            for network in networks:
                network.register_forward_pre_hook(self.entrance(name), with_kwargs=True)
                for block in blocks(network):
                    block.register_forward_pre_hook(self.block_entrance(name, block))
                    block.register_forward_hook(self.block_exit(name, block))

    def entrance(self, name: str) -> Callable[..., Any]:
        def enter(network: nn.Module, args: Any, kwargs: Any) -> Any:
            if self.alone:
                for other in [*self.homes.keys() - {name}]:
                    self.leave(other)
            if name not in self.homes and name not in self.streamed:
                parameters = (p for one in self.parts[name] for p in one.parameters())
                self.enter(name, parameters)
            return tuple(map(self.moved, args)), {k: self.moved(x) for k, x in kwargs.items()}

        return enter

    def block_entrance(self, name: str, block: nn.Module) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            if name in self.streamed:
                self.enter(f"{name} {id(block)}", block.parameters())

        return enter

    def block_exit(self, name: str, block: nn.Module) -> Callable[..., None]:
        def leave(*_: Any) -> None:
            if name in self.streamed:
                self.leave(f"{name} {id(block)}")

        return leave

    def moved(self, x: Any) -> Any:
        return self.move(x) if isinstance(x, Tensor) else x

    def enter(self, name: str, parameters: Iterator[nn.Parameter]) -> None:
        homes = self.homes[name] = []
        for parameter in parameters:
            homes.append((parameter, parameter.data))
            parameter.data = self.move(parameter.data)

    def leave(self, name: str) -> None:
        for parameter, home in self.homes.pop(name, ()):
            parameter.data = home

    def home(self) -> None:
        """Every part waits."""
        for name in [*self.homes]:
            self.leave(name)


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """What is streamed: the largest modules that hold no list of others, each with all it has."""
    lists = (nn.ModuleList, nn.ModuleDict)
    if any(isinstance(module, lists) for module in network.modules()):
        for child in network.children():
            yield from blocks(child)
    elif any(True for _ in network.parameters()):
        yield network


def largest_block(network: nn.Module) -> int:
    """Bytes of the parameters of the largest of its blocks."""
    return max(weights(block) for block in blocks(network))


def weights(*networks: nn.Module) -> int:
    """Bytes of all parameters."""
    return sum(p.nbytes for network in networks for p in network.parameters())

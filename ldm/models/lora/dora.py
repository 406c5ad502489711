"""DoRA: a weight's direction and its length change apart."""

from torch import Tensor


def decomposed(
    w: Tensor, delta: Tensor, length: Tensor, strength: float, program: str | None
) -> Tensor:
    """The change of W by a LoRA (LoHa, LoKr) with lengths m at a strength.

    Liu et al. 2024, "DoRA", eq. 5: W' = m (W + dW) / |W + dW|, the norm of each column of inputs,
    or of each row of outputs, whichever m (1, I) or (O, 1) is for.

    Papers know no strength but 1, and programs differ: here it is s (W' - W), as for every other
    kind. program, as in `compat`:

        lycoris     (W + dW) (1 + s (m / |W + dW| - 1)) - W
        diffusers   m (W + s dW) / |W + s dW| - W, as in PEFT
        comfyui     as here, but rows are divided by |W|, not by |W + dW|
        a1111       as here, but |W + dW| is always that of columns
    """
    rows = length.numel() == len(w) and (length.dim() == 1 or len(length) == len(w))
    sides = [1] * w.dim()
    sides[0 if rows else 1] = -1
    length = length.reshape(sides)

    def norm(x: Tensor, of_rows: bool = rows) -> Tensor:
        others = [axis for axis in range(x.dim()) if axis != (0 if of_rows else 1)]
        return x.square().sum(others, keepdim=True).sqrt()

    if program == "diffusers":
        partly = w + strength * delta
        return length * partly / norm(partly) - w
    whole = w + delta
    if program == "lycoris":
        return whole * (1 + strength * (length / norm(whole) - 1)) - w
    divisor = norm(whole)
    if program == "comfyui" and rows:
        divisor = norm(w)
    elif program == "a1111":
        divisor = norm(whole, of_rows=False)
    return strength * (length * whole / divisor - w)

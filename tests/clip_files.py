"""A small CLIP of random weights, as other implementations have it: transformers', and one with the
names of OpenAI's and OpenCLIP's code, written with torch's own attention."""

import torch
from torch import nn

VOCABULARY, WIDTH = 517, 10  # tokens, and width of the vectors that are compared
VISION = {"width": 128, "layers": 3, "heads": 2, "size": 35, "patch": 7}
TEXT = {"width": 128, "layers": 2, "heads": 2}


def transformers_clip(activation="quick_gelu", dtype=torch.float64):
    from transformers import CLIPConfig, CLIPModel

    def sizes(tower):
        return {
            "hidden_size": tower["width"], "num_hidden_layers": tower["layers"],
            "num_attention_heads": 4, "intermediate_size": 3 * tower["width"],
            "hidden_act": activation, "projection_dim": WIDTH,
        }  # fmt: skip

    ends = {"bos_token_id": 515, "eos_token_id": 516, "pad_token_id": 516}
    config = CLIPConfig(
        text_config=sizes(TEXT) | ends | {"vocab_size": VOCABULARY, "max_position_embeddings": 12},
        vision_config=sizes(VISION) | {"image_size": VISION["size"], "patch_size": VISION["patch"]},
        projection_dim=WIDTH,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return shaken(CLIPModel(config)).to(dtype)


def shaken(model):
    """No bias is 0, and no norm's weight 1."""
    for parameter in model.eval().requires_grad_(False).parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Attended(nn.Module):
    def __init__(self, width, heads, act):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 3 * width))
        self.mlp.add_module("gelu", act())
        self.mlp.add_module("c_proj", nn.Linear(3 * width, width))

    def forward(self, x, mask):
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, tower, act):
        super().__init__()
        blocks = (Attended(tower["width"], tower["heads"], act) for _ in range(tower["layers"]))
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self, act):
        super().__init__()
        width, patch = VISION["width"], VISION["patch"]
        length = (VISION["size"] // patch) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(length, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(VISION, act)
        self.proj = nn.Parameter(torch.randn(width, WIDTH))

    def forward(self, x):
        x = self.conv1(x).flatten(2).mT
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class OpenCLIP(nn.Module):
    """forward(pictures, ids) -> the vectors of the pictures, and of the texts; not normed."""

    def __init__(self, act=QuickGELU, text=TEXT, vocabulary=VOCABULARY, length=12):
        super().__init__()
        width = text["width"]
        self.visual = Visual(act)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(length, width))
        self.transformer = Transformer(text, act)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, WIDTH))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, pictures, ids):
        length = ids.shape[1]
        mask = torch.full((length, length), -torch.inf, dtype=pictures.dtype).triu(1)
        x = self.token_embedding(ids) + self.positional_embedding
        x = self.ln_final(self.transformer(x, mask))
        texts = x[torch.arange(len(ids)), ids.argmax(dim=1)] @ self.text_projection
        return self.visual(pictures), texts


def openclip(act=QuickGELU, dtype=torch.float64, **sizes):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return shaken(OpenCLIP(act, **sizes)).to(dtype)


def reads_words():
    """One that knows CLIP's tokens, and so reads any text."""
    text = {"width": 8, "layers": 1, "heads": 1}
    return openclip(dtype=torch.float32, text=text, vocabulary=49408, length=77)


def inputs(dtype=torch.float64):
    """Three pictures, and four texts that end at various places."""
    noise = torch.Generator().manual_seed(2)
    pictures = torch.randn(3, 3, VISION["size"], VISION["size"], generator=noise, dtype=dtype)
    ids = torch.randint(0, 515, (4, 12), generator=noise)
    ids[:, 0] = 515
    for row, end in zip(ids, (1, 5, 8, 11)):
        row[end:] = 516
    return pictures, ids

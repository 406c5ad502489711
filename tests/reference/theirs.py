"""The networks of a family as diffusers and transformers build them."""

import diffusers
import transformers

from ldm.clip.config import TextConfig
from ldm.models.keymaps.text import text_rows
from ldm.unet import UNetConfig
from ldm.vae import VAEConfig


def their_text(config: TextConfig):
    """And the rows of names that the two share, see `share_weights`."""
    projected = config.projection is not None
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    theirs = kind(
        transformers.CLIPTextConfig(
            vocab_size=config.vocabulary,
            max_position_embeddings=config.length,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            hidden_act=config.activation,
            bos_token_id=config.vocabulary - 2,
            eos_token_id=config.vocabulary - 1,
            projection_dim=config.projection or config.width,
        )
    )
    names = list(text_rows(config))
    if not hasattr(theirs, "text_model"):  # transformers 5
        names = [row._replace(diffusers=row.diffusers[1:]) for row in names]
    return theirs, names


MID = "UNetMidBlock2DCrossAttn"


def their_unet(config: UNetConfig):
    """Their `attention_head_dim` is the number of heads. Their vector is made of a pooled text and
    the embeddings of some numbers: here of one number, 2 wide."""
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in config.depth]
    vector = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 2,
        "projection_class_embeddings_input_dim": config.vector_width,
    }
    if config.classes is not None:
        vector = {"num_class_embeds": config.classes}
    reverse = [list(level) if any(level) else 1 for level in reversed(config.up_depth)]
    return diffusers.UNet2DConditionModel(
        in_channels=config.in_channels + config.concat_channels,
        out_channels=config.out_channels,
        block_out_channels=config.channels,
        layers_per_block=config.res_blocks,
        norm_num_groups=config.groups,
        down_block_types=down,
        up_block_types=[block.replace("Down", "Up") for block in reversed(down)],
        cross_attention_dim=config.context_width,
        attention_head_dim=tuple(config.heads_at(width) for width in config.channels),
        transformer_layers_per_block=[depth or config.mid_depth or 1 for depth in config.depth],
        reverse_transformer_layers_per_block=reverse if config.up_depth else None,
        mid_block_type={None: None, 0: "UNetMidBlock2D"}.get(config.mid_depth, MID),
        use_linear_projection=config.linear_projection,
        time_cond_proj_dim=config.guidance_width,
        only_cross_attention=[i in config.only_cross_attention for i in range(len(down))],
        **(vector if config.vector_width is not None else {}),
    )


def their_vae(config: VAEConfig):
    return diffusers.AutoencoderKL(
        in_channels=config.image_channels,
        out_channels=config.image_channels,
        latent_channels=config.latent_channels,
        block_out_channels=config.channels,
        layers_per_block=config.res_blocks,
        norm_num_groups=config.groups,
        down_block_types=["DownEncoderBlock2D"] * len(config.channels),
        up_block_types=["UpDecoderBlock2D"] * len(config.channels),
        scaling_factor=config.scale,
    )

"""Generalized attention (https://arxiv.org/abs/1904.05873) in the place of fairseq's encoder-decoder attention."""

from torch import nn

from plugins.operators.generalized_attention_1d import GeneralizedAttention1d

OPTION = "encoder_attention"
TASKS = ("translation",)


def build(cfg, width: int) -> nn.Module:
    """The operator with the terms of fairseq's options, called as fairseq calls its own; `width` of both stacks."""
    if cfg.encoder.embed_dim != width:
        raise ValueError(
            f"encoder_embed_dim={cfg.encoder.embed_dim}: must equal decoder_embed_dim={width} for "
            "encoder_attention_terms"
        )
    heads, dropout = cfg.decoder.attention_heads, cfg.attention_dropout
    return EncoderAttention(GeneralizedAttention1d(width, cfg.encoder_attention_terms, heads, dropout=dropout))


class EncoderAttention(nn.Module):
    """Generalized attention with the signature of fairseq's MultiheadAttention."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        self.operator = operator

    def forward(
        self,
        query,
        key,
        value=None,
        key_padding_mask=None,
        incremental_state=None,
        need_weights=True,
        need_head_weights=False,
        **unused,
    ):
        """query [T, N, C], key [S, N, C] -> (y [T, N, C], weights [N, T, S] averaged over heads, or None).

        With `need_head_weights`, which fairseq asks for to average them itself, the average as a single head.
        """
        wanted = need_weights or need_head_weights
        y, weights = self.operator(query, key, key_padding_mask, incremental_state, wanted)
        return y, weights[None] if need_head_weights else weights

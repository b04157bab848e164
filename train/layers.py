"""Layers of a model whose products run on a processor; each shares the parameters of the layer that it replaces."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from quaver.train.functional import conv2d, linear, matmul
from quaver.train.site import Site


class _Placed(nn.Module):
    """Base of layers: where its products are computed, saved with the model."""

    site: Site

    def get_extra_state(self) -> dict[str, object]:
        return self.site.to_dict()

    def set_extra_state(self, state: Mapping[str, Mapping[str, object]]) -> None:
        self.site.restore(state)

    def extra_repr(self) -> str:
        casts = self.site.casts
        return f"weight={casts.weight}, activation={casts.activation}, error={casts.error}"


class Linear(_Placed):
    """`nn.Linear`."""

    def __init__(self, layer: nn.Linear, site: Site) -> None:
        super().__init__()
        self.site, self.weight, self.bias = site, layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.site)


class Conv2d(_Placed):
    """`nn.Conv2d` with zeros as padding."""

    def __init__(self, layer: nn.Conv2d, site: Site) -> None:
        super().__init__()
        self.site, self.weight, self.bias, self.groups = site, layer.weight, layer.bias, layer.groups
        if layer.padding_mode != "zeros":
            raise ValueError(f"padding_mode of {site.name} must be 'zeros', not {layer.padding_mode!r}")
        if isinstance(layer.padding, str):
            raise ValueError(f"padding of {site.name} must be a number or a pair, not {layer.padding!r}")
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(
            x,
            self.weight,
            self.bias,
            self.site,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class MatMul(_Placed):
    """`quaver.train.products.MatMul`."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return matmul(a, b, self.site)


class MultiheadAttention(nn.Module):
    """`nn.MultiheadAttention` taken apart into its products; parameters keep their names.

    Queries, keys and values are projected one after the other by their parts of `in_proj_weight`; the softmax and
    dropout are the vector unit's.
    """

    _qkv_same_embed_dim = False
    """Tells `nn.TransformerEncoderLayer` not to multiply by itself where no gradient is wanted."""

    def __init__(self, layer: nn.MultiheadAttention, site_of: "SiteOf") -> None:
        super().__init__()
        if layer.bias_k is not None or layer.add_zero_attn or layer.in_proj_weight is None:
            raise ValueError(f"{site_of.prefix} must have neither biases of keys, added zeros nor other sizes of keys")
        self.in_proj_weight, self.in_proj_bias = layer.in_proj_weight, layer.in_proj_bias
        self.heads, self.width, self.batch_first = layer.num_heads, layer.embed_dim, layer.batch_first
        self.dropout = layer.dropout
        self.projections = nn.ModuleList(_Site(site_of(part)) for part in ("query", "key", "value"))
        self.scores, self.context = MatMul(site_of("scores")), MatMul(site_of("context"))
        self.out_proj = Linear(layer.out_proj, site_of("out_proj"))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention` has it; `is_causal` says nothing that `attn_mask` does not."""
        batched, first = query.dim() == 3, self.batch_first
        inputs = [x if batched else x.unsqueeze(0) for x in (query, key, value)]
        if batched and not first:
            inputs = [x.transpose(0, 1) for x in inputs]
        weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (
            self._split(linear(x, w, b, place.site))
            for x, w, b, place in zip(inputs, weights, biases, self.projections, strict=True)
        )
        scores = self.scores(q * (self.width // self.heads) ** -0.5, k.transpose(-2, -1))
        scores = _masked(scores, attn_mask, key_padding_mask, self.heads)
        attention = nn.functional.dropout(scores.softmax(-1), self.dropout, self.training)
        joined = self.context(attention, v).transpose(1, 2).flatten(2)
        y = self.out_proj(joined)
        y = y if not batched else y if first else y.transpose(0, 1)
        shown = None
        if need_weights:
            shown = attention.mean(1) if average_attn_weights else attention
            shown = shown if batched else shown.squeeze(0)
        return y if batched else y.squeeze(0), shown

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.width // self.heads)).transpose(1, 2)


class SiteOf:
    """Sites of the parts of one layer, by their names."""

    def __init__(self, sites: Mapping[str, Site], prefix: str) -> None:
        self.sites, self.prefix = sites, prefix

    def __call__(self, part: str) -> Site:
        return self.sites[f"{self.prefix}.{part}"]


class _Site(_Placed):
    """Nothing but a site, so that its state is saved."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site


def _masked(scores: Tensor, mask: Tensor | None, padding: Tensor | None, heads: int) -> Tensor:
    """Scores (batch, heads, queries, keys) with masks as `nn.MultiheadAttention` takes them: True or -Inf is out."""
    if mask is not None and mask.dim() == 3:
        mask = mask.unflatten(0, (-1, heads))
    for given in (mask, None if padding is None else padding[..., None, None, :]):
        if given is not None:
            scores = scores.masked_fill(given, float("-inf")) if given.dtype == torch.bool else scores + given
    return scores

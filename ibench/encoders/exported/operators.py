"""Which operators a graph from a file may call: arithmetic on tensors and on sizes, from a list, and nothing else.

On the list are torch's own operators (``aten``) that compute tensors from tensors and numbers. Left out are those that
touch files (``save``, ``from_file``), give a tensor other memory (``set_``, ``resize_``) or memory that nobody wrote
(``empty``), draw random numbers, or read outside of their tensors when called with arguments that do not fit: made-up
arguments crashed ``_fft_c2r``, ``_weight_norm`` and more of torch 2.12, which its Python functions call with care.
Higher-order operators (which run further graphs), those of other libraries and Python functions are not on the list.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ibench.encoders.exported.layout import Refusal

_NAMES = """
    abs acos acosh add addbmm addcdiv addcmul addmm alias all amax amin aminmax __and__ any arange argmax argmin
    argsort as_strided asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_not bitwise_or bitwise_xor bmm ceil
    clamp clamp_max clamp_min clone complex conj constant_pad_nd copy cos cosh cross cummax cummin cumprod cumsum
    deg2rad detach diag_embed diagonal diff div dot einsum eq erf erfc exp exp2 expm1 eye fill flip floor
    floor_divide fmod frac full full_like gather ge greater greater_equal gt hypot imag index index_add index_copy
    index_fill index_put index_select isfinite isinf isnan isneginf isposinf item le lerp less less_equal lift_fresh
    lift_fresh_copy linalg_norm linalg_vector_norm linspace _local_scalar_dense log log10 log1p log2 logaddexp
    logical_and logical_not logical_or logical_xor logsumexp lt masked_fill masked_scatter matmul max maximum mean
    min minimum mm mul multiply mv nan_to_num ne neg negative new_full new_ones new_zeros nonzero norm not_equal
    one_hot ones ones_like __or__ outer polar pow prod rad2deg real reciprocal remainder repeat repeat_interleave
    resolve_conj resolve_neg roll round rsqrt rsub scalar_tensor scatter scatter_add scatter_reduce searchsorted
    select select_scatter sgn sigmoid sign sin sinc sinh slice slice_scatter sort sqrt square std std_mean sub
    subtract sum tan tanh tensordot topk tril triu true_divide trunc type_as var var_mean view_as_complex
    view_as_real where xlogy __xor__ zeros zeros_like

    atleast_1d atleast_2d atleast_3d cat chunk concat concatenate contiguous dstack expand expand_as flatten hstack
    meshgrid mH moveaxis movedim mT narrow numpy_T permute ravel reshape reshape_as split split_with_sizes squeeze
    stack swapaxes swapdims t tensor_split tile to _to_copy transpose unbind unflatten unfold unsafe_chunk
    unsafe_split unsafe_split_with_sizes _unsafe_view unsqueeze view view_as vstack

    adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d batch_norm celu channel_shuffle conv1d
    conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d convolution cosine_similarity dropout elu embedding
    feature_dropout _fused_rms_norm gelu glu group_norm hardshrink hardsigmoid hardswish hardtanh im2col layer_norm
    leaky_relu linear log_sigmoid log_softmax _log_softmax max_pool1d max_pool2d max_pool2d_with_indices max_pool3d
    max_pool3d_with_indices mish native_group_norm native_layer_norm pad pixel_shuffle pixel_unshuffle prelu
    reflection_pad1d reflection_pad2d relu relu6 replication_pad1d replication_pad2d rms_norm _safe_softmax
    scaled_dot_product_attention selu silu softmax _softmax softplus softshrink threshold upsample_bicubic2d
    _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa upsample_linear1d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_trilinear3d

    blackman_window fft_fft fft_fftshift fft_ifft fft_ifftshift fft_irfft fft_irfft2 fft_rfft fft_rfft2
    hamming_window hann_window istft stft

    sym_numel sym_size sym_storage_offset sym_stride
"""
FUNCTIONAL = frozenset(_NAMES.split())
"""Names in ``torch.ops.aten``; an operator that writes into a tensor goes by the name of the one that does not."""

_CHECKS = {
    *("_assert_async", "_assert_scalar", "_assert_tensor_metadata"),
    *("sym_constrain_range", "sym_constrain_range_for_size"),
}
"""What export adds to say what it took for granted, devices and dtypes included. They compute nothing."""

_GIVES_NUMBERS = {"item", "_local_scalar_dense", "sym_numel", "sym_size", "sym_storage_offset", "sym_stride"}

_TRAINS = {"train", "training"}
"""Arguments that make an operator draw random numbers or change running statistics."""

_MOST = 2**63


@dataclass(frozen=True)
class Operator:
    """How a node is called, by argument names, and the names of the arguments it writes into."""

    call: Callable[..., Any]
    writes: tuple[str, ...] = ()


def find_operator(target: str) -> Operator | None:
    """The operator of a node, or None for a check, which is not run. Raises Refusal for all that is not on the list."""
    if target in _ON_NUMBERS:
        return _ON_NUMBERS[target]
    library, _, name = target.rpartition("aten.")
    name, _, overload = name.partition(".")
    if library == "torch.ops." and name in _CHECKS:
        return None
    if library == "torch.ops." and name == "_native_batch_norm_legit_no_training":
        return Operator(_batch_norm)
    if library == "torch.ops." and (name in FUNCTIONAL or (name.endswith("_") and name[:-1] in FUNCTIONAL)):
        packet = getattr(torch.ops.aten, name, None)
        if packet is not None and overload in packet.overloads():
            called = getattr(packet, overload)
            written = [given for given in called._schema.arguments if given.alias_info and given.alias_info.is_write]
            if _computes(name, overload, called._schema) and not any(given.kwarg_only for given in written):
                return Operator(called, tuple(given.name for given in written))
    raise Refusal(
        f"calls '{target:.80}', which is none of the operators that ibench runs from a file; "
        "saving the graph after run_decompositions(), or before, may replace it"
    )


def refuse_training(target: str, literals: dict[str, Any]) -> None:
    """Raises Refusal for an operator that behaves as in training, by its arguments that are no tensors."""
    if any(literals.get(name) for name in (*_TRAINS, "dropout_p")):
        raise Refusal(f"was exported in training mode ('{target:.80}'); call model.eval() before torch.export.export")


def _computes(name: str, overload: str, schema: Any) -> bool:
    """Whether an overload is one for tensors, and not one of TorchScript's own on numbers, text and lists.

    Resizing is left to the overload that derives the scales from the sizes: given apart, they are not checked.
    """
    if "upsample" in name:
        return overload == "vec"
    tensors = [str(result.type) in ("Tensor", "List[Tensor]") for result in schema.returns]
    return not overload.startswith("prim_") and ((any(tensors) and all(tensors)) or name in _GIVES_NUMBERS)


def _batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, None, None]:
    """Batch norm of a decomposed graph by the operator that checks the sizes; nothing reads the other two results."""
    statistics = (running_mean, running_var, False, momentum, eps, True)
    return torch.ops.aten.batch_norm.default(input, weight, bias, *statistics), None, None


def _on_numbers(function: Callable[..., Any]) -> Operator:
    """A Python function on sizes, which may not grow out of 64 bits: whole numbers in Python can fill memory."""

    def call(**given: Any) -> Any:
        if not all(isinstance(value, (bool, int, float)) for value in given.values()):
            raise TypeError("takes numbers")
        result = function(*given.values())
        if abs(result) >= _MOST:
            raise OverflowError("a number beyond 64 bits")
        return result

    return Operator(call)


_ON_NUMBERS = {
    **{
        f"_operator.{function.__name__}": _on_numbers(function)
        for function in (
            *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod),
            *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
            *(operator.neg, operator.pos, operator.and_, operator.or_),
        )
    },
    "math.trunc": _on_numbers(math.trunc),
    **{
        f"torch.{function.__name__}": _on_numbers(function)
        for function in (torch.sym_max, torch.sym_min, torch.sym_not, torch.sym_int, torch.sym_float, torch.sym_ite)
    },
}

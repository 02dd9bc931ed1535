"""What an exported program may compute: ATen's operations on tensors that are functions of their arguments alone.

Left out is what draws random numbers, reads or writes files, shows memory that nobody has written, or holds programs.
"""

# Which can also be had in place, with an underscore behind the name.
_EACH_VALUE = """
    abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil
    celu clamp clamp_max clamp_min clip copy cos cosh cumprod cumsum deg2rad div divide dropout elu eq erf erfc exp
    exp2 expm1 fill floor floor_divide fmod frac ge gelu gt hardsigmoid hardswish hardtanh hypot index_add index_copy
    index_fill index_put le leaky_relu lerp log log10 log1p log2 logical_and logical_not logical_or logical_xor lt
    masked_fill mish mul multiply nan_to_num ne neg negative pow rad2deg reciprocal relu relu6 remainder round rsqrt
    rsub scatter scatter_add selu sgn sigmoid sign silu sin sinh softplus sqrt square squeeze sub subtract tan tanh
    threshold tril triu trunc unsqueeze xlogy zero
"""
_OTHERS = """
    _adaptive_avg_pool2d _log_softmax _native_batch_norm_legit_no_training _softmax _to_copy _unsafe_view
    _upsample_nearest_exact2d native_batch_norm
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d addbmm addmm
    addmv alias all alpha_dropout amax amin any arange argmax argmin argsort avg_pool1d avg_pool2d avg_pool3d baddbmm
    batch_norm bmm broadcast_tensors broadcast_to cat channel_shuffle chunk clone concat constant_pad_nd contiguous
    conv1d conv2d conv3d conv_transpose2d convolution cosine_similarity detach diagonal diff dot einsum embedding
    expand expand_as eye feature_dropout flatten flip full full_like gather glu grid_sampler grid_sampler_2d
    group_norm im2col index index_select instance_norm isfinite isinf isnan layer_norm lift_fresh lift_fresh_copy
    linalg_norm linalg_vector_norm linear linspace log_sigmoid log_softmax logit logsumexp matmul max max_pool1d
    max_pool2d max_pool2d_with_indices max_pool3d maximum mean meshgrid min minimum mm movedim mv narrow
    native_group_norm native_layer_norm new_full new_ones new_zeros norm numpy_T ones ones_like outer pad
    permute pixel_shuffle pixel_unshuffle prelu prod reflection_pad1d reflection_pad2d repeat repeat_interleave
    replication_pad1d replication_pad2d reshape reshape_as rms_norm roll rot90 scalar_tensor
    scaled_dot_product_attention select select_scatter slice slice_scatter softmax sort split split_with_sizes
    stack std sum swapaxes swapdims sym_numel sym_size t take_along_dim tensor_split tile to topk transpose type_as
    unbind unflatten unfold upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var
    var_mean view view_as where zeros zeros_like
"""
ATEN = frozenset([*_OTHERS.split(), *(name + end for name in _EACH_VALUE.split() for end in ("", "_"))])
# On sizes, which are numbers.
NUMBERS = frozenset(("add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "le", "lt", "mod", "mul", "ne", "neg",
                     "or_", "sub", "truediv"))
# They make sure of what holds here without them, and give nothing.
ASSERTIONS = frozenset(("_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
                        "sym_constrain_range_for_size"))
# Arguments that must be off: what is random, or learns, in training only.
OFF = frozenset(("train", "training", "dropout_p"))
# Arguments that are settled here.
SETTLED = frozenset(("layout", "pin_memory"))

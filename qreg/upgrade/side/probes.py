"""The PyTorch interface that the methods use: a small call for each part shows if it works."""

from __future__ import annotations

from dataclasses import dataclass

_STATIC = ("static", "static-per-tensor")
_QAT = ("qat", "qat-per-tensor")
_EAGER = (*_STATIC, *_QAT)
_QUANTIZED = ("dynamic", *_EAGER)
_FX = ("fx-static", "fx-qat")
_PT2E = ("pt2e-static", "pt2e-qat")
_AO = "torch.ao.quantization"
_OBSERVE = "(lambda o: (o(torch.ones(2, 2)), o.calculate_qparams()))({make}())"
_NET = "torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())"
_READY = f"(lambda m: (setattr(m, 'qconfig', {_AO}.get_default_{{kind}}('fbgemm')), m)[1])({_NET})"
_STATIC_READY = _READY.format(kind="qconfig")
_QAT_READY = _READY.format(kind="qat_qconfig") + ".train()"
_PREPARED = f"(lambda m: (m(torch.ones(1, 2)), m)[1])({_AO}.prepare({_STATIC_READY}))"
_TENSOR = "torch.quantize_per_tensor(torch.ones(1, 2), 0.5, 0, torch.quint8)"
_WEIGHT = "torch.quantize_per_tensor(torch.ones(2, 2), 0.5, 0, torch.qint8)"
_IMAGES = "torch.quantize_per_tensor(torch.ones(1, 2, 2, 2), 0.5, 0, torch.quint8)"
_KERNEL = "torch.quantize_per_tensor(torch.ones(2, 2, 1, 1), 0.5, 0, torch.qint8)"
_OPS = "torch.ops.quantized"
_CONV = f"{_OPS}.conv2d_prepack({_KERNEL}, None, [1, 1], [0, 0], [1, 1], 1)"
_LINEAR = f"{_OPS}.linear_prepack({_WEIGHT}, None)"
_FX_MAPPING = f"{_AO}.get_default_qconfig_mapping()"


@dataclass(frozen=True)
class Probe:
    """One part of PyTorch's interface that methods use.

    Attributes:
        name: dotted path of a function, class or operator.
        call: an expression that uses it, with ``torch`` defined.
        used_by: methods that need it.
    """

    name: str
    call: str
    used_by: tuple[str, ...]


def _ao() -> dict[str, tuple[str, tuple[str, ...]]]:
    stubs = {f"{_AO}.{name}": (f"{_AO}.{name}()", _EAGER) for name in ("QuantStub", "DeQuantStub")}
    return {
        f"{_AO}.quantize_dynamic": (
            f"{_AO}.quantize_dynamic({_NET}, {{torch.nn.Linear}})(torch.ones(1, 2))",
            ("dynamic",),
        ),
        f"{_AO}.fuse_modules": (f"{_AO}.fuse_modules({_NET}.eval(), [['0', '1']])", _EAGER),
        f"{_AO}.QConfig": (f"{_AO}.QConfig(activation=None, weight=None)", _EAGER),
        f"{_AO}.get_default_qconfig": (f"{_AO}.get_default_qconfig('x86')", _STATIC),
        f"{_AO}.get_default_qat_qconfig": (f"{_AO}.get_default_qat_qconfig('x86')", _QAT),
        f"{_AO}.prepare": (f"{_AO}.prepare({_STATIC_READY})", _STATIC),
        f"{_AO}.prepare_qat": (f"{_AO}.prepare_qat({_QAT_READY})", _QAT),
        f"{_AO}.convert": (f"{_AO}.convert({_PREPARED})", _EAGER),
        f"{_AO}.disable_observer": (f"{_NET}.apply({_AO}.disable_observer)", _QAT),
        f"{_AO}.disable_fake_quant": (f"{_NET}.apply({_AO}.disable_fake_quant)", _QAT),
        **stubs,
    }


def _observers() -> dict[str, tuple[str, tuple[str, ...]]]:
    kinds = {
        "observer.HistogramObserver": _STATIC,
        "observer.MinMaxObserver": ("static-per-tensor", "dynamic"),
        "observer.PerChannelMinMaxObserver": ("static",),
        "observer.MovingAverageMinMaxObserver": _QAT,
        "observer.MovingAveragePerChannelMinMaxObserver": ("qat",),
        "observer.default_weight_observer": ("static-per-tensor",),
        "observer.default_per_channel_weight_observer": ("static",),
        "fake_quantize.FusedMovingAvgObsFakeQuantize": _QAT,
        "fake_quantize.default_fused_per_channel_wt_fake_quant": ("qat",),
        "fake_quantize.default_fused_wt_fake_quant": ("qat-per-tensor",),
    }
    return {
        f"{_AO}.{name}": (_OBSERVE.format(make=f"{_AO}.{name}"), used)
        for name, used in kinds.items()
    }


def _tensors() -> dict[str, tuple[str, tuple[str, ...]]]:
    channels = "torch.ones(2), torch.zeros(2, dtype=torch.long), 0"
    zeros = "torch.zeros(2, dtype=torch.int32), 0, -128, 127"
    return {
        "torch.quantize_per_tensor": (_TENSOR, _QUANTIZED),
        "torch.quantize_per_channel": (
            f"torch.quantize_per_channel(torch.ones(2, 2), {channels}, torch.qint8)",
            ("static", "qat"),
        ),
        "torch.quantize_per_tensor_dynamic": (
            "torch.quantize_per_tensor_dynamic(torch.ones(2), torch.quint8, True)",
            (),
        ),
        "torch.Tensor.int_repr": (f"{_TENSOR}.int_repr()", _QUANTIZED),
        "torch.Tensor.dequantize": (f"{_TENSOR}.dequantize()", _QUANTIZED),
        "torch.Tensor.q_per_channel_scales": (
            f"torch.quantize_per_channel(torch.ones(2, 2), {channels}, torch.qint8)"
            ".q_per_channel_scales()",
            ("static", "qat"),
        ),
        "torch.fake_quantize_per_tensor_affine": (
            "torch.fake_quantize_per_tensor_affine(torch.ones(2), 1.0, 0, -128, 127)",
            _QAT,
        ),
        "torch.fake_quantize_per_channel_affine": (
            f"torch.fake_quantize_per_channel_affine(torch.ones(2, 2), torch.ones(2), {zeros})",
            ("qat",),
        ),
    }


def _kernels() -> dict[str, tuple[str, tuple[str, ...]]]:
    add = f"{_OPS}.add({_TENSOR}, {_TENSOR}, 1.0, 0)"
    return {
        f"{_OPS}.conv2d_prepack": (_CONV, _EAGER),
        f"{_OPS}.conv2d": (f"{_OPS}.conv2d({_IMAGES}, {_CONV}, 1.0, 0)", _EAGER),
        f"{_OPS}.conv2d_relu": (f"{_OPS}.conv2d_relu({_IMAGES}, {_CONV}, 1.0, 0)", _EAGER),
        f"{_OPS}.linear_prepack": (_LINEAR, _QUANTIZED),
        f"{_OPS}.linear": (f"{_OPS}.linear({_TENSOR}, {_LINEAR}, 1.0, 0)", _EAGER),
        f"{_OPS}.linear_relu": (f"{_OPS}.linear_relu({_TENSOR}, {_LINEAR}, 1.0, 0)", _EAGER),
        f"{_OPS}.linear_dynamic": (
            f"{_OPS}.linear_dynamic(torch.ones(1, 2), {_LINEAR})",
            ("dynamic",),
        ),
        f"{_OPS}.add": (add, _EAGER),
        "torch.ao.nn.quantized.FloatFunctional": (
            "torch.ao.nn.quantized.FloatFunctional().add(torch.ones(1), torch.ones(1))",
            _EAGER,
        ),
        "torch.ao.nn.quantized.Conv2d": ("torch.ao.nn.quantized.Conv2d(2, 2, 1)", _EAGER),
        "torch.ao.nn.quantized.Linear": ("torch.ao.nn.quantized.Linear(2, 2)", _EAGER),
        "torch.ao.nn.quantized.dynamic.Linear": (
            "torch.ao.nn.quantized.dynamic.Linear(2, 2)",
            ("dynamic",),
        ),
        "torch.ao.nn.intrinsic.quantized.ConvReLU2d": (
            "torch.ao.nn.intrinsic.quantized.ConvReLU2d(2, 2, 1)",
            _EAGER,
        ),
    }


def _graphs() -> dict[str, tuple[str, tuple[str, ...]]]:
    fx, pt2e = f"{_AO}.quantize_fx", f"{_AO}.quantize_pt2e"
    inputs = "(torch.ones(1, 2),)"
    ready = f"{fx}.prepare_fx({_NET}.eval(), {_FX_MAPPING}, {inputs})"
    mapping = f"{_AO}.get_default_qat_qconfig_mapping()"
    return {
        "torch.fx.symbolic_trace": (f"torch.fx.symbolic_trace({_NET})", _EAGER),
        "torch.jit.trace": (f"torch.jit.trace({_NET}, torch.ones(1, 2))", ()),
        "torch.jit.script": (f"torch.jit.script({_NET})", ()),
        "torch.export.export": (f"torch.export.export({_NET}, {inputs})", _PT2E),
        f"{fx}.prepare_fx": (ready, ("fx-static",)),
        f"{fx}.convert_fx": (f"{fx}.convert_fx({ready})", _FX),
        f"{fx}.prepare_qat_fx": (
            f"{fx}.prepare_qat_fx({_NET}.train(), {mapping}, {inputs})",
            ("fx-qat",),
        ),
        # the methods use the successor, in torchao
        f"{pt2e}.prepare_pt2e": (f"{pt2e}.prepare_pt2e", ()),
        f"{pt2e}.convert_pt2e": (f"{pt2e}.convert_pt2e", ()),
        "torchao.quantization.pt2e.quantize_pt2e.prepare_pt2e": (
            "torchao.quantization.pt2e.quantize_pt2e.prepare_pt2e",
            _PT2E,
        ),
        "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer.X86InductorQuantizer": (
            "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer.X86InductorQuantizer()",
            _PT2E,
        ),
        "torchao.quantization.quantize_": (
            f"torchao.quantization.quantize_({_NET}, torchao.quantization.Int8WeightOnlyConfig())",
            ("torchao-int8-weight-only", "torchao-int8-dynamic"),
        ),
    }


def all_probes() -> tuple[Probe, ...]:
    """Every probe."""
    tables = (_ao(), _observers(), _tensors(), _kernels(), _graphs())
    return tuple(
        Probe(name, call, used) for table in tables for name, (call, used) in table.items()
    )

"""Codes E13xx and W13xx, quantization: number formats, scales, integer arithmetic."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E1301",
        "no integer format",
        "Integer arithmetic knows u8, i8, i4, t2 (ternary), i16, i32 and fix(bits, frac = n) of at most 32 bits. "
        "Stations hold at most 8 bits; weights i8, i4 or t2.",
    ),
    Code(
        "E1302",
        "a station or junction without a number format",
        "Integer arithmetic needs a `scale` fact for every station that is read and integer weights with a scale "
        "for every junction and every cell. `pathc quantize FILE --weights W --data D --method int8 -o Q` makes both; "
        "the scales are in the .pir file beside Q, which is the net to run.",
    ),
    Code(
        "E1303",
        "a stage that integer arithmetic cannot evaluate",
        "identity, relu, leaky, abs and hardtanh become one multiplication with rounding and a clamp; tanh and sigmoid "
        "become a table; kwinners compares what they give. softmax is computed from the sums of an output. In front of "
        "an average over windows there may be relu, abs and other pools. Functions that bend after a clamp or a table, "
        "winners among channels, equations, extents beside cells, and normalizations that cannot be folded into the "
        "weights in front of them, are not evaluated in integers. Of recurrent cells rnn, indrnn and linear are: their "
        "next state is one sum, requantized. The gates of lstm, gru, ligru, qrnn and sru multiply states.",
    ),
    Code(
        "E1304",
        "an accumulator that is too narrow",
        "The largest sum that weights, biases and the formats of the sources allow needs more bits than the "
        "accumulator has. The bound is proved, not observed: inputs exist that reach it. Use narrower weights or "
        "activations, or a smaller fan-in.",
    ),
    Code(
        "E1305",
        "scales that do not fit together",
        "All lines and the bias that add up in one station need the same value for 1 in its sums: scale of the weights "
        "times scale of the source. Scales are positive and finite. Quantize all tensors of the station together.",
    ),
    Code(
        "E1306",
        "weights that do not fit their format",
        "The tensor holds integers outside the format that the graph states for the junction, or it holds floats. "
        "Use the weights that were quantized with this graph.",
    ),
    Code(
        "E1307",
        "a ratio of scales that no multiplier reaches",
        "Sums become activations by a multiplier of 16 bits and a shift to the right, which reach ratios below 65536.",
    ),
    Code(
        "E1308",
        "NaN where integers are wanted",
        "Infinities become the largest or least integer of a format, but no integer stands for NaN.",
    ),
    Code(
        "E1309",
        "integers wider than a byte",
        "Kernels of quantized nets keep a value and a weight in a byte each: i8, u8, i4, t2 and fixed point of up to 8 "
        "bits. The integer interpreter (`-t reference{integers=true}`) computes wider ones.",
    ),
    Code(
        "E1310",
        "a tensor of zeros",
        "No scale fits a tensor that holds nothing but zeros, and no sample can be drawn from it.",
    ),
    Code(
        "E1311",
        "settings or data that cannot quantize",
        "Samples a weight are positive and at most 2^20, the quantile of calibration lies between 0.5 and 1, and the "
        "calibration data has at least one sample, all finite.",
    ),
    Code(
        "E1312",
        "scales that cannot be fed forward",
        "Normalization divides the weights of a unit by a positive factor and multiplies the weights that read it. "
        "That needs activations with f(c x) = c f(x) for positive c: identity, relu, leaky, abs, kwinners with one "
        "factor. tanh, sigmoid, hardtanh and softmax of a hidden layer do not have it.",
    ),
    Code(
        "E1313",
        "a net that no paths can be sampled from",
        "Paths are drawn backwards from the outputs to the inputs, with at least one path for every output. Lines with "
        "weights and skips lead them on; equations, shortcuts, and lines from flat stations back to extents, do not.",
    ),
    Code(
        "W1301",
        "integers of more than 8 bits",
        "Monte Carlo quantization with many samples gives large weights integers of many bits. Floats can hold them, "
        "integer targets cannot.",
    ),
    Code(
        "W1302",
        "a skip that integers render coarsely",
        "The values a skip hands on are multiplied by a whole number, in steps of the sums they join. With weights of "
        "few bits these steps are coarse, and the factor is rounded.",
    ),
    Code(
        "W1303",
        "a net that is not calibrated",
        "A net with extents has a stage that has no meaning in integers, or a normalization that cannot be folded into "
        "weights. Its weights become integers with scales, which run as floats on every target; the data tells what "
        "accuracy they keep.",
    ),
)

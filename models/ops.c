#include <stddef.h>
#include <string.h>
#include "models/ops.h"

static const struct fg_op *const tables[] = {
	fg_ops_constant, fg_ops_dense, fg_ops_math,   fg_ops_ml,    fg_ops_ml_labels,
	fg_ops_norm,	 fg_ops_pick,  fg_ops_reduce, fg_ops_shape, fg_ops_whole,
};

const struct fg_op *fg_op_find(struct fg_text domain, struct fg_text name)
{
	const struct fg_text standard = {"", 0};

	if (fg_text_is(domain, "ai.onnx"))
		domain = standard;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (const struct fg_op *op = tables[i]; op->name; op++)
			if (fg_text_is(name, op->name) && fg_text_is(domain, op->domain))
				return op;
	return NULL;
}

bool fg_op_takes_merged(const struct fg_op *op)
{
	return strcmp(op->name, "MatMul") == 0 || strcmp(op->name, "Reshape") == 0 ||
	       strcmp(op->name, "Identity") == 0;
}

/* Names, or beginnings of names (with a *), of one kind; the first that fits counts. */
static const struct {
	const char *names;
	const char *advice;
} advice[] = {
	{" Conv* MaxPool* AveragePool GlobalAveragePool GlobalMaxPool GlobalLpPool LpPool Pad "
	 "Resize "
	 "Upsample InstanceNormalization GroupNormalization LRN DepthToSpace SpaceToDepth "
	 "GridSample "
	 "RoiAlign MaxRoiPool DeformConv Col2Im CenterCropPad AffineGrid MaxUnpool ",
	 "it is for images; flipgate runs dense models: compute the features before, and export "
	 "the "
	 "dense part"},
	{" LSTM GRU RNN Scan Loop If Sequence* SplitToSequence ConcatFromSequence Optional* "
	 "ReverseSequence ",
	 "loops, branches and sequences are not run: unroll the model at export, or export the "
	 "dense "
	 "part"},
	{" Attention RotaryEmbedding Einsum MultiHeadAttention FlexAttention TensorScatter "
	 "LinearAttention CausalConvWithState ",
	 "export it decomposed into MatMul, Softmax and Reshape (opset 22 or below)"},
	{" TreeEnsemble* SVM* ",
	 "trees and support vectors are not run: distil the model into a dense one"},
	{" NonMaxSuppression TopK NonZero Unique Compress Multinomial Bernoulli Random* EyeLike ",
	 "its result has no fixed shape, or is random: do it on the client, with the model's "
	 "output"},
	{" GatherElements GatherND Scatter* Trilu CumSum CumProd Det Hardmax ",
	 "export the model without it, or do this step on the client"},
	{" String* RegexFullMatch TfIdfVectorizer CategoryMapper DictVectorizer "
	 "CastMap "
	 "ImageDecoder ",
	 "texts cannot be inputs: encode them as numbers before the model"},
	{" Quantize* Dequantize* QLinear* ConvInteger MatMulInteger DynamicQuantizeLinear ",
	 "export the float model: flipgate-pack quantizes it itself (weights: int8)"},
	{" DFT STFT MelWeightMatrix BlackmanWindow HammingWindow HannWindow ",
	 "compute the spectrum before the model"},
	{" Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh ",
	 "compute angles before the model"},
	{" MeanVarianceNormalization ",
	 "use LayerNormalization, which keeps rows of a batch apart"},
};

/* True when the word list holds `name`. */
static int listed(const char *names, struct fg_text name)
{
	while (*names) {
		size_t length = strcspn(++names, " ");
		size_t fixed = length && names[length - 1] == '*' ? length - 1 : length;

		if (fixed && name.length >= fixed && !memcmp(name.at, names, fixed) &&
		    (fixed < length || name.length == length))
			return 1;
		names += length;
	}
	return 0;
}

const char *fg_op_advice(struct fg_text domain, struct fg_text name)
{
	if (domain.length && !fg_text_is(domain, "ai.onnx") && !fg_text_is(domain, "ai.onnx.ml"))
		return "export the model with the operators of ai.onnx and ai.onnx.ml only";
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
		if (listed(advice[i].names, name))
			return advice[i].advice;
	return "export a model of dense layers, activations and normalizations, or the part of it "
	       "that is one";
}

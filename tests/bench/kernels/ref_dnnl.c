/*
 * oneDNN (version 2's C API): inner products, or matrix multiplications, with weights in the format
 * that the library likes best and the activation as a post-op. Which of the two is faster depends
 * on the shape, so both run.
 */
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/bench/kernels/reference.h"

struct layer {
	dnnl_primitive_t primitive;
	dnnl_memory_t weights, bias;
	dnnl_memory_t out; /* the last layer's lies in the caller's memory */
};

struct state {
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_memory_t in;
	struct layer layers[BENCH_LAYERS];
	dnnl_primitive_t softmax; /* NULL: none */
};

/* Success? */
static int ok(dnnl_status_t status, const char *what, char why[BENCH_WHY_BYTES])
{
	if (status == dnnl_success)
		return 1;
	snprintf(why, BENCH_WHY_BYTES, "oneDNN: %s: status %d", what, (int)status);
	return 0;
}

static int describe(dnnl_memory_desc_t *desc, uint32_t rows, uint32_t cols, dnnl_format_tag_t tag,
		    char why[BENCH_WHY_BYTES])
{
	const dnnl_dims_t dims = {rows, cols};

	return ok(dnnl_memory_desc_init_by_tag(desc, 2, dims, dnnl_f32, tag), "shape", why);
}

/* What a layer works on. Weights are (out, in) for an inner product, (in, out) for a matmul. */
struct shapes {
	dnnl_memory_desc_t in, given, packed, bias,
		out; /* given: the weights as the model has them */
};

static int describe_layer(struct shapes *shapes, const struct bench_model *model, uint32_t layer,
			  uint32_t rows, int matmul, char why[BENCH_WHY_BYTES])
{
	uint32_t in_cols = model->cols[layer], out_cols = model->cols[layer + 1];
	const dnnl_dims_t bias_dims = {out_cols};
	int weights = matmul ? describe(&shapes->given, in_cols, out_cols, dnnl_ab, why) &&
				       describe(&shapes->packed, in_cols, out_cols,
						dnnl_format_tag_any, why)
			     : describe(&shapes->given, out_cols, in_cols, dnnl_ba, why) &&
				       describe(&shapes->packed, out_cols, in_cols,
						dnnl_format_tag_any, why);

	return weights && describe(&shapes->in, rows, in_cols, dnnl_ab, why) &&
	       describe(&shapes->out, rows, out_cols, dnnl_ab, why) &&
	       (matmul ? describe(&shapes->bias, 1, out_cols, dnnl_ab, why)
		       : ok(dnnl_memory_desc_init_by_tag(&shapes->bias, 1, bias_dims, dnnl_f32,
							 dnnl_a),
			    "bias", why));
}

/* The activation as a post-op. Softmax is a primitive of its own. */
static int make_attributes(dnnl_primitive_attr_t *attributes, int last, enum bench_end end,
			   char why[BENCH_WHY_BYTES])
{
	dnnl_alg_kind_t kind = last ? dnnl_eltwise_logistic : dnnl_eltwise_relu;
	dnnl_post_ops_t ops = NULL;
	int done = ok(dnnl_primitive_attr_create(attributes), "attributes", why) &&
		   ok(dnnl_post_ops_create(&ops), "post-ops", why);

	if (done && !(last && end == BENCH_SOFTMAX))
		done = ok(dnnl_post_ops_append_eltwise(ops, 1, kind, 0, 0), "activation", why);
	done = done && ok(dnnl_primitive_attr_set_post_ops(*attributes, ops), "post-ops", why);
	dnnl_post_ops_destroy(ops);
	return done;
}

static int describe_primitive(dnnl_primitive_desc_t *made, struct state *state,
			      const struct shapes *shapes, dnnl_primitive_attr_t attributes,
			      int matmul, char why[BENCH_WHY_BYTES])
{
	dnnl_inner_product_desc_t product;
	dnnl_matmul_desc_t multiplication;

	if (matmul)
		return ok(dnnl_matmul_desc_init(&multiplication, &shapes->in, &shapes->packed,
						&shapes->bias, &shapes->out),
			  "matmul", why) &&
		       ok(dnnl_primitive_desc_create(made, &multiplication, attributes,
						     state->engine, NULL),
			  "matmul", why);
	return ok(dnnl_inner_product_forward_desc_init(&product, dnnl_forward_inference,
						       &shapes->in, &shapes->packed, &shapes->bias,
						       &shapes->out),
		  "inner product", why) &&
	       ok(dnnl_primitive_desc_create(made, &product, attributes, state->engine, NULL),
		  "inner product", why);
}

/* layer->weights in the format that `described` wants. */
static int pack_weights(struct state *state, struct layer *layer, const struct shapes *shapes,
			dnnl_primitive_desc_t described, float *weights, char why[BENCH_WHY_BYTES])
{
	const dnnl_memory_desc_t *wanted =
		dnnl_primitive_desc_query_md(described, dnnl_query_weights_md, 0);
	dnnl_primitive_desc_t reorder_described = NULL;
	dnnl_primitive_t reorder = NULL;
	dnnl_memory_t given = NULL;
	int done =
		ok(dnnl_memory_create(&given, &shapes->given, state->engine, weights), "weights",
		   why) &&
		ok(dnnl_memory_create(&layer->weights, wanted, state->engine, DNNL_MEMORY_ALLOCATE),
		   "packed weights", why) &&
		ok(dnnl_reorder_primitive_desc_create(&reorder_described, &shapes->given,
						      state->engine, wanted, state->engine, NULL),
		   "packing", why) &&
		ok(dnnl_primitive_create(&reorder, reorder_described), "packing", why);

	if (done) {
		const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, given},
						{DNNL_ARG_TO, layer->weights}};

		done = ok(dnnl_primitive_execute(reorder, state->stream, 2, args), "packing",
			  why) &&
		       ok(dnnl_stream_wait(state->stream), "packing", why);
	}
	dnnl_primitive_destroy(reorder);
	dnnl_primitive_desc_destroy(reorder_described);
	dnnl_memory_destroy(given);
	return done;
}

/* `out` NULL: memory of the library's. */
static int open_layer(struct state *state, const struct bench_model *model, uint32_t i,
		      uint32_t rows, float *out, int matmul, char why[BENCH_WHY_BYTES])
{
	struct layer *layer = &state->layers[i];
	dnnl_primitive_attr_t attributes = NULL;
	dnnl_primitive_desc_t described = NULL;
	struct shapes shapes;
	int done = describe_layer(&shapes, model, i, rows, matmul, why) &&
		   make_attributes(&attributes, i + 1 == BENCH_LAYERS, model->end, why) &&
		   describe_primitive(&described, state, &shapes, attributes, matmul, why) &&
		   pack_weights(state, layer, &shapes, described, model->weights[i], why) &&
		   ok(dnnl_memory_create(&layer->bias, &shapes.bias, state->engine, model->bias[i]),
		      "bias", why) &&
		   ok(dnnl_memory_create(&layer->out, &shapes.out, state->engine,
					 out ? out : DNNL_MEMORY_ALLOCATE),
		      "output", why) &&
		   ok(dnnl_primitive_create(&layer->primitive, described), "layer", why);

	dnnl_primitive_desc_destroy(described);
	dnnl_primitive_attr_destroy(attributes);
	return done;
}

static int open_softmax(struct state *state, const struct bench_model *model, uint32_t rows,
			char why[BENCH_WHY_BYTES])
{
	dnnl_primitive_desc_t described = NULL;
	dnnl_memory_desc_t shape;
	dnnl_softmax_desc_t softmax;
	int done = describe(&shape, rows, model->cols[BENCH_LAYERS], dnnl_ab, why) &&
		   ok(dnnl_softmax_forward_desc_init(&softmax, dnnl_forward_inference, &shape, 1),
		      "softmax", why) &&
		   ok(dnnl_primitive_desc_create(&described, &softmax, NULL, state->engine, NULL),
		      "softmax", why) &&
		   ok(dnnl_primitive_create(&state->softmax, described), "softmax", why);

	dnnl_primitive_desc_destroy(described);
	return done;
}

static void close_batch(void *at)
{
	struct state *state = at;

	for (uint32_t i = 0; i < BENCH_LAYERS; i++) {
		dnnl_primitive_destroy(state->layers[i].primitive);
		dnnl_memory_destroy(state->layers[i].weights);
		dnnl_memory_destroy(state->layers[i].bias);
		dnnl_memory_destroy(state->layers[i].out);
	}
	dnnl_primitive_destroy(state->softmax);
	dnnl_memory_destroy(state->in);
	dnnl_stream_destroy(state->stream);
	dnnl_engine_destroy(state->engine);
	free(state);
}

static void *open_batch(const struct bench_model *model, uint32_t rows, const float *in, float *out,
			int matmul, char why[BENCH_WHY_BYTES])
{
	struct state *state = calloc(1, sizeof(*state));
	dnnl_memory_desc_t shape;
	int done;

	if (!state) {
		snprintf(why, BENCH_WHY_BYTES, "no memory");
		return NULL;
	}
	/* The API has no word for data that is only read. */
	done = ok(dnnl_engine_create(&state->engine, dnnl_cpu, 0), "engine", why) &&
	       ok(dnnl_stream_create(&state->stream, state->engine, dnnl_stream_default_flags),
		  "stream", why) &&
	       describe(&shape, rows, model->cols[0], dnnl_ab, why) &&
	       ok(dnnl_memory_create(&state->in, &shape, state->engine, (float *)(uintptr_t)in),
		  "input", why);
	for (uint32_t i = 0; done && i < BENCH_LAYERS; i++)
		done = open_layer(state, model, i, rows, i + 1 == BENCH_LAYERS ? out : NULL, matmul,
				  why);
	if (done && model->end == BENCH_SOFTMAX)
		done = open_softmax(state, model, rows, why);
	if (done)
		return state;
	close_batch(state);
	return NULL;
}

static void *open_inner_product(const struct bench_model *model, uint32_t rows, const float *in,
				float *out, char why[BENCH_WHY_BYTES])
{
	return open_batch(model, rows, in, out, 0, why);
}

static void *open_matmul(const struct bench_model *model, uint32_t rows, const float *in,
			 float *out, char why[BENCH_WHY_BYTES])
{
	return open_batch(model, rows, in, out, 1, why);
}

static void execute(const struct state *state, dnnl_primitive_t primitive, int count,
		    const dnnl_exec_arg_t *args)
{
	if (dnnl_primitive_execute(primitive, state->stream, count, args) != dnnl_success) {
		fprintf(stderr, "bench_kernels: oneDNN failed to run\n");
		abort();
	}
}

static void run_batch(void *at)
{
	const struct state *state = at;
	dnnl_memory_t in = state->in;

	for (uint32_t i = 0; i < BENCH_LAYERS; i++) {
		const struct layer *layer = &state->layers[i];
		const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, in},
						{DNNL_ARG_WEIGHTS, layer->weights},
						{DNNL_ARG_BIAS, layer->bias},
						{DNNL_ARG_DST, layer->out}};

		execute(state, layer->primitive, 4, args);
		in = layer->out;
	}
	if (state->softmax) {
		const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, in}};

		execute(state, state->softmax, 2, args);
	}
	dnnl_stream_wait(state->stream);
}

static const char *version(void)
{
	static char text[64];
	const dnnl_version_t *is = dnnl_version();
	dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();

	snprintf(text, sizeof(text), "%d.%d.%d, %s", is->major, is->minor, is->patch,
		 isa == dnnl_cpu_isa_sse41					? "sse41"
		 : isa == dnnl_cpu_isa_avx					? "avx"
		 : (isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core ? "avx512"
		 : (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2		? "avx2"
										: "plain");
	return text;
}

BENCH_EXPORT extern const struct bench_reference bench_references[];
const struct bench_reference bench_references[] = {
	{"oneDNN inner product", open_inner_product, run_batch, close_batch, version},
	{"oneDNN matmul", open_matmul, run_batch, close_batch, version},
	{0},
};

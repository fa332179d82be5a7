/*
 * What exporters write out operator by operator, as the one activation that it is.
 *
 * All patterns are products x * g(x), where g is a chain of activations and of sums and products
 * with one number each: a product is taken, one factor is followed back to the other, and the chain
 * in between is compared. GELU's factor 1/2 may stand on x, in the chain, or behind the product.
 */
#include <math.h>
#include "models/optimize_steps.h"

#define MAX_LINKS 8

/* One link of a chain: an activation, or (NONE) x * scale + shift. */
struct link {
	enum fg_activation activation;
	float scale, shift; /* or alpha, beta */
};

/* Never where b is 0 or infinite, as a gain or its inverse can be: nothing is near that. */
static bool near(float a, float b)
{
	return isnormal(b) && fabsf(a - b) <= 1e-5f * fabsf(b);
}

static bool same_span(struct fg_ir_span a, struct fg_ir_span b)
{
	return a.rows == b.rows && a.first == b.first;
}

/* True when all are the same number, which is *number; NULL stands for `otherwise`. */
static bool uniform(const float *numbers, size_t count, float otherwise, float *number)
{
	*number = numbers ? numbers[0] : otherwise;
	for (size_t i = 1; numbers && i < count; i++)
		if (numbers[i] != numbers[0])
			return false;
	return true;
}

/* 1: the step computes each column from that column alone, by one number or an activation. */
static int read_link(const struct fg_optimizer *optimizer, const struct fg_ir_step *step,
		     struct link *link)
{
	const size_t cols = fg_step_cols(step);
	struct fg_affine affine;
	int result;

	if (step->kind == FG_STEP_ACTIVATION) {
		*link = (struct link){step->activation, step->alpha, step->beta};
		return step->activation != FG_ACTIVATION_NONE;
	}
	*link = (struct link){FG_ACTIVATION_NONE, 1.0f, 0.0f};
	result = step->activation == FG_ACTIVATION_NONE ? fg_step_affine(optimizer, step, &affine)
							: 0;
	if (result <= 0)
		return result;
	return !affine.offset && uniform(affine.scale, cols, 1.0f, &link->scale) &&
	       uniform(affine.shift, cols, 0.0f, &link->shift);
}

/*
 * The chain that leads from `start` to `end`, first link first; affine links that follow each other
 * are one. Returns its length, 0 when there is no such chain, -ENOMEM.
 */
static int read_chain(const struct fg_optimizer *optimizer, struct fg_ir_span start,
		      struct fg_ir_span end, uint32_t cols, struct link links[MAX_LINKS])
{
	int first = MAX_LINKS, result;

	while (!same_span(start, end)) {
		const struct fg_ir_step *step = fg_step_writer(optimizer, end, cols);
		struct link link;

		if (!step || !first)
			return 0;
		result = read_link(optimizer, step, &link);
		if (result <= 0)
			return result;
		if (first < MAX_LINKS && link.activation == FG_ACTIVATION_NONE &&
		    links[first].activation == FG_ACTIVATION_NONE) {
			links[first].shift += link.shift * links[first].scale;
			links[first].scale *= link.scale;
		} else {
			links[--first] = link;
		}
		end = step->in;
	}
	for (int i = 0; i < MAX_LINKS - first; i++)
		links[i] = links[first + i];
	return MAX_LINKS - first;
}

static bool is_affine(const struct link *link, float scale, float shift)
{
	return link->activation == FG_ACTIVATION_NONE && near(link->scale, scale) &&
	       (shift == 0.0f ? link->shift == 0.0f : near(link->shift, shift));
}

/* x^3 at `cube`? It is a power or two products. */
static bool is_cube(const struct fg_optimizer *optimizer, struct fg_ir_span x,
		    struct fg_ir_span cube, uint32_t cols)
{
	const struct fg_ir_step *step = fg_step_writer(optimizer, cube, cols), *square;
	float exponent;

	if (!step)
		return false;
	if (step->kind == FG_STEP_POW && step->constant)
		return same_span(step->in, x) && uniform(step->constant, cols, 0, &exponent) &&
		       exponent == 3.0f;
	if (step->kind != FG_STEP_MUL || step->constant)
		return false;
	square = fg_step_writer(optimizer, same_span(step->in, x) ? step->other : step->in, cols);
	return (same_span(step->in, x) || same_span(step->other, x)) && square &&
	       square->kind == FG_STEP_MUL && same_span(square->in, x) &&
	       same_span(square->other, x);
}

/* sqrt(2 / pi) (x + 0.044715 x^3) at `inner`? */
static int is_tanh_inner(const struct fg_optimizer *optimizer, struct fg_ir_span x,
			 struct fg_ir_span inner, uint32_t cols)
{
	const struct fg_ir_step *scaled = fg_step_writer(optimizer, inner, cols), *sum, *cubic;
	struct link link;
	int result = scaled ? read_link(optimizer, scaled, &link) : 0;

	if (result <= 0 || !is_affine(&link, 0.7978845608f, 0.0f))
		return result < 0 ? result : 0;
	sum = fg_step_writer(optimizer, scaled->in, cols);
	if (!sum || sum->kind != FG_STEP_ADD || sum->constant ||
	    (!same_span(sum->in, x) && !same_span(sum->other, x)))
		return 0;
	cubic = fg_step_writer(optimizer, same_span(sum->in, x) ? sum->other : sum->in, cols);
	result = cubic ? read_link(optimizer, cubic, &link) : 0;
	if (result <= 0 || !is_affine(&link, 0.044715f, 0.0f))
		return result < 0 ? result : 0;
	return is_cube(optimizer, x, cubic->in, cols);
}

/* (1 + tanh(inner(x))) * gain at `end`? */
static int match_gelu_tanh(const struct fg_optimizer *optimizer, struct fg_ir_span x,
			   struct fg_ir_span end, uint32_t cols, float *gain)
{
	const struct fg_ir_step *step = fg_step_writer(optimizer, end, cols);
	struct link link;
	int result = step ? read_link(optimizer, step, &link) : 0;

	if (result <= 0 || link.activation != FG_ACTIVATION_NONE || link.shift != link.scale)
		return result < 0 ? result : 0;
	*gain = 2.0f * link.scale;
	step = fg_step_writer(optimizer, step->in, cols);
	if (!step || step->kind != FG_STEP_ACTIVATION || step->activation != FG_ACTIVATION_TANH)
		return 0;
	return is_tanh_inner(optimizer, x, step->in, cols);
}

/* x * chain(x) = gain * found(x)? */
static bool match_chain(const struct link *links, int count, struct link *found, float *gain)
{
	const struct link *last = &links[count - 1];

	*gain = 1.0f;
	if (last->activation == FG_ACTIVATION_SIGMOID &&
	    (count == 1 || (count == 2 && is_affine(&links[0], links[0].scale, 0.0f)))) {
		*found = (struct link){FG_ACTIVATION_SILU, count == 1 ? 1.0f : links[0].scale, 0};
		return true;
	}
	if (count == 2 && links[0].activation == FG_ACTIVATION_SOFTPLUS &&
	    last->activation == FG_ACTIVATION_TANH) {
		*found = (struct link){FG_ACTIVATION_MISH, 0, 0};
		return true;
	}
	*found = (struct link){FG_ACTIVATION_HARD_SWISH, 0, 0};
	if (count == 1 && last->activation == FG_ACTIVATION_HARD_SIGMOID)
		return near(last->scale, 1.0f / 6) && near(last->shift, 0.5f);
	if (count == 2 && last->activation == FG_ACTIVATION_CLIP) {
		*gain = last->shift;
		return last->scale == 0.0f && last->shift > 0 &&
		       is_affine(&links[0], last->shift / 6, last->shift / 2);
	}
	if (count == 3 && links[1].activation == FG_ACTIVATION_CLIP && last->shift == 0.0f) {
		*gain = last->scale * links[1].shift;
		return last->activation == FG_ACTIVATION_NONE && links[1].scale == 0.0f &&
		       links[1].shift > 0 &&
		       is_affine(&links[0], links[1].shift / 6, links[1].shift / 2);
	}
	*found = (struct link){FG_ACTIVATION_GELU, 0, 0};
	*gain = 2.0f * last->scale;
	return count == 3 && is_affine(&links[0], 0.7071067811865476f, 0.0f) &&
	       links[1].activation == FG_ACTIVATION_ERF && last->activation == FG_ACTIVATION_NONE &&
	       last->scale == last->shift;
}

/* Is `product` = gain * found(x), with `x` one factor and `end` the other? */
static int match(const struct fg_optimizer *optimizer, struct fg_ir_span x, struct fg_ir_span end,
		 uint32_t cols, struct link *found, float *gain)
{
	struct link links[MAX_LINKS];
	int count = read_chain(optimizer, x, end, cols, links);

	if (count < 0 || (count && match_chain(links, count, found, gain)))
		return count < 0 ? count : 1;
	*found = (struct link){FG_ACTIVATION_GELU_TANH, 0, 0};
	return match_gelu_tanh(optimizer, x, end, cols, gain);
}

/* The same where `factor` may also be a multiple of x. */
static int match_factor(const struct fg_optimizer *optimizer, struct fg_ir_span *factor,
			struct fg_ir_span end, uint32_t cols, struct link *found, float *gain)
{
	const struct fg_ir_step *multiple = fg_step_writer(optimizer, *factor, cols);
	struct link link;
	int result = match(optimizer, *factor, end, cols, found, gain);

	if (result || !multiple)
		return result;
	result = read_link(optimizer, multiple, &link);
	if (result <= 0 || link.activation != FG_ACTIVATION_NONE || link.shift != 0.0f)
		return result < 0 ? result : 0;
	*factor = multiple->in;
	result = match(optimizer, *factor, end, cols, found, gain);
	*gain *= link.scale;
	return result;
}

static void become(struct fg_optimizer *optimizer, struct fg_ir_step *step, struct fg_ir_span x,
		   const struct link *found)
{
	struct fg_ir_step by = {.kind = FG_STEP_ACTIVATION,
				.in = x,
				.other = {FG_IR_NONE, 0},
				.third = {FG_IR_NONE, 0},
				.groups = 1,
				.in_cols = fg_step_cols(step),
				.out_cols = fg_step_cols(step),
				.activation = found->activation,
				.alpha = found->scale,
				.beta = found->shift,
				.node = step->node};

	fg_step_replace(optimizer, step, &by);
}

int fg_optimize_pattern(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	const uint32_t cols = fg_step_cols(step);
	struct fg_ir_step *behind;
	struct link found, link;
	struct fg_ir_span x = step->in;
	float gain = 1.0f;
	int result;

	if (step->kind != FG_STEP_MUL || step->constant)
		return 0;
	result = match_factor(optimizer, &x, step->other, cols, &found, &gain);
	if (!result) {
		x = step->other;
		result = match_factor(optimizer, &x, step->in, cols, &found, &gain);
	}
	if (result <= 0)
		return result;
	if (near(gain, 1.0f)) {
		become(optimizer, step, x, &found);
		return 1;
	}
	if (!fg_step_sole_reader(optimizer, step, &behind))
		return 0;
	result = read_link(optimizer, behind, &link);
	if (result <= 0 || !is_affine(&link, 1.0f / gain, 0.0f))
		return result < 0 ? result : 0;
	become(optimizer, behind, x, &found);
	fg_step_kill(optimizer, step);
	return 1;
}

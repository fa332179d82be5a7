#include "sched/distribution.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define HALF	 (FG_DISTRIBUTION_BINS / 2)
#define SHIFT	 19 /* an f32's fraction has 23 bits, of which four count */
#define ROUNDING (1u << (SHIFT - 1))
#define FIRST	 ((127 - 24) << 4) /* 2^-24, shifted */
#define GROUPS	 10

static float float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static uint32_t peek(const uint32_t *bin)
{
	return __atomic_load_n(bin, __ATOMIC_RELAXED);
}

/* Bin HALF holds 0 and what counts as 0; bin HALF + k the k-th step of magnitudes, and HALF - k the
 * same ones below 0. The bits of positive floats are in the order of the floats. */
static uint32_t bin_of(uint32_t bits)
{
	int32_t step = (int32_t)(((bits & 0x7fffffff) + ROUNDING) >> SHIFT) - FIRST;

	if (step < 0)
		step = 0;
	else if (step > HALF - 1)
		step = HALF - 1;
	return bits >> 31 ? (uint32_t)(HALF - step) : (uint32_t)(HALF + step);
}

void fg_distribution_add(struct fg_distribution *distribution, float value)
{
	uint32_t bits, *bin;

	if (value != value)
		return;
	memcpy(&bits, &value, sizeof(bits));
	bin = &distribution->bins[bin_of(bits)];
	__atomic_store_n(bin, *bin + (*bin != UINT32_MAX), __ATOMIC_RELAXED);
}

void fg_distribution_merge(struct fg_distribution *into, const struct fg_distribution *from)
{
	for (uint32_t i = 0; i < FG_DISTRIBUTION_BINS; i++)
		if (__builtin_add_overflow(into->bins[i], peek(&from->bins[i]), &into->bins[i]))
			into->bins[i] = UINT32_MAX;
}

uint64_t fg_distribution_count(const struct fg_distribution *distribution)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < FG_DISTRIBUTION_BINS; i++)
		count += peek(&distribution->bins[i]);
	return count;
}

static float upper_end(uint32_t bin)
{
	if (bin == HALF)
		return 0;
	if (bin > HALF)
		return float_of(((bin - HALF + FIRST) << SHIFT) + ROUNDING);
	return -float_of(((HALF - bin + FIRST) << SHIFT) - ROUNDING);
}

float fg_distribution_quantile(const struct fg_distribution *distribution, double quantile)
{
	uint64_t count = fg_distribution_count(distribution), seen = 0;
	double rank = ceil(quantile * (double)count);
	uint32_t last = 0;

	for (uint32_t i = 0; i < FG_DISTRIBUTION_BINS; i++) {
		uint32_t held = peek(&distribution->bins[i]);

		if (!held)
			continue;
		last = i;
		seen += held;
		if ((double)seen >= rank)
			break;
	}
	return seen ? upper_end(last) : 0;
}

/* Of the spread from the 1st to the 99th percentile. */
#define NARROWEST 0.02f

/* Counts of some bins, of the reference and the other one. */
struct group {
	uint64_t reference, other;
	float from; /* where its values begin; of the open one */
};

/* The groups that fg_distribution_psi speaks of. */
struct grouping {
	uint64_t reference_count;
	float width; /* a group is at least that wide */
	uint32_t count;
	/* At most GROUPS end at a tenth, and one before each bin that holds a tenth; the last one:
	 * where the reference has nothing. */
	struct group groups[2 * GROUPS + 2];
};

static bool holds_tenth(const struct grouping *grouping, uint64_t count)
{
	return count * GROUPS >= grouping->reference_count;
}

/* Ends a group that is wide enough to be one; what has nothing of the reference goes to `nowhere`.
 */
static void close_group(struct grouping *grouping, struct group *open, struct group *nowhere,
			float end)
{
	if (end - open->from < grouping->width)
		return;
	if (open->reference)
		grouping->groups[grouping->count++] = *open;
	else
		nowhere->other += open->other;
	*open = (struct group){0, 0, end};
}

static void form_groups(struct grouping *grouping, const struct fg_distribution *reference,
			const struct fg_distribution *other)
{
	struct group open = {0, 0, -INFINITY}, nowhere = {0, 0, 0};
	uint64_t seen = 0, tenths = 0; /* of the reference; `tenths` are closed */

	for (uint32_t i = 0; i < FG_DISTRIBUTION_BINS; i++) {
		uint32_t held = peek(&reference->bins[i]);
		bool alone = held && holds_tenth(grouping, held);

		if (alone && i)
			close_group(grouping, &open, &nowhere, upper_end(i - 1));
		seen += held;
		open.reference += held;
		open.other += peek(&other->bins[i]);
		/* The last tenth goes to the end, as the first one comes from it. */
		if (alone || (seen < grouping->reference_count &&
			      seen * GROUPS >= (tenths + 1) * grouping->reference_count)) {
			close_group(grouping, &open, &nowhere, upper_end(i));
			tenths = seen * GROUPS / grouping->reference_count;
		}
	}
	close_group(grouping, &open, &nowhere, INFINITY);
	if (nowhere.other)
		grouping->groups[grouping->count++] = nowhere;
}

double fg_distribution_psi(const struct fg_distribution *reference,
			   const struct fg_distribution *other)
{
	struct grouping grouping = {.reference_count = fg_distribution_count(reference)};
	uint64_t other_count = fg_distribution_count(other);
	double psi = 0, raised;

	if (!grouping.reference_count || !other_count)
		return 0;
	grouping.width = (fg_distribution_quantile(reference, 0.99) -
			  fg_distribution_quantile(reference, 0.01)) *
			 NARROWEST;
	form_groups(&grouping, reference, other);
	raised = 0.5 * grouping.count;
	for (uint32_t i = 0; i < grouping.count; i++) {
		const struct group *group = &grouping.groups[i];
		double r = ((double)group->reference + 0.5) /
			   ((double)grouping.reference_count + raised);
		double o = ((double)group->other + 0.5) / ((double)other_count + raised);

		psi += (o - r) * log(o / r);
	}
	return psi;
}

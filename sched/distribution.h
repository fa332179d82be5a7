/*
 * distribution.h: how values of one kind are spread: small, fixed, cheap to fill, good enough to
 * see two models drift apart. For scores of any sign and for durations.
 *
 * Bins are the sign, the exponent and the fraction of an f32, rounded to its first four bits: 16
 * bins per power of two from 2^-24 to 2^40, so a value read back is at most 6.25 % off; what is
 * nearer to 0 counts as 0, what is larger as the largest. Rounded, so that values which models like
 * to give (0.5, 1, whole numbers) lie in the middle of a bin: 0.9999999 is no drift from 1. A bin
 * counts up to UINT32_MAX. One writer, relaxed; who reads meanwhile gets each bin as new as its
 * load.
 */
#ifndef FG_SCHED_DISTRIBUTION_H
#define FG_SCHED_DISTRIBUTION_H

#include <stdint.h>

#define FG_DISTRIBUTION_BINS 2048 /* in the order of the values: 1024 below 0, 1024 from 0 on */

/* All zero: empty. */
struct fg_distribution {
	uint32_t bins[FG_DISTRIBUTION_BINS];
};

/* NaN is not counted. A few ns. */
void fg_distribution_add(struct fg_distribution *distribution, float value);
void fg_distribution_merge(struct fg_distribution *into, const struct fg_distribution *from);
uint64_t fg_distribution_count(const struct fg_distribution *distribution);

/* The upper end of the bin in which the quantile (0..1, cut to that) lies, 0 for the values that
 * count as 0; 0 when empty. */
float fg_distribution_quantile(const struct fg_distribution *distribution, double quantile);

/*
 * Population stability index of `other` against `reference`: the reference's bins are grouped into
 * ten of about equal share, and psi = sum of (o - r) * ln(o / r) over the groups' shares, each
 * count raised by 1/2 so that empty groups do not make it infinite (Siddiqi, "Credit Risk
 * Scorecards", 2006, chapter 10). A bin that alone holds a tenth is a group by itself, as are all
 * the bins beside such bins in which the reference has nothing: scores that are always the same, or
 * one of a few, are compared as well. But none is narrower than a fiftieth of the reference's
 * spread (1st to 99th percentile): the many outputs next to 0 that a softmax has are one value,
 * however many powers of two lie between them. Below 0.1 is read as stable, above 0.25 as drift. 0
 * when either is empty. With n and m values, chance alone makes about 9 * (1 / n + 1 / m).
 */
double fg_distribution_psi(const struct fg_distribution *reference,
			   const struct fg_distribution *other);

#endif

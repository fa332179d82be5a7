#include "userspace/shared/nearest.h"

#include <string.h>

#define MOST_LETTERS 23
#define MOST_APART   2

size_t fg_nearest_distance(const char *a, const char *b)
{
	size_t long_a = strnlen(a, MOST_LETTERS), long_b = strnlen(b, MOST_LETTERS);
	size_t row[MOST_LETTERS + 1];

	for (size_t k = 0; k <= long_b; k++)
		row[k] = k;
	for (size_t i = 1; i <= long_a; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= long_b; k++) {
			size_t changed = diagonal + (a[i - 1] != b[k - 1]);

			diagonal = row[k];
			row[k] = row[k] < row[k - 1] ? row[k] + 1 : row[k - 1] + 1;
			row[k] = row[k] < changed ? row[k] : changed;
		}
	}
	return row[long_b];
}

const char *fg_nearest(const char *name, const char *candidate, const char *best)
{
	size_t apart = fg_nearest_distance(name, candidate);

	return apart <= MOST_APART && (!best || apart < fg_nearest_distance(name, best)) ? candidate
											 : best;
}

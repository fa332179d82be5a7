#include "tools/cli_matrix.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DIMS 8

/* The header: a Python dictionary of three keys, in any order. */
struct npy {
	char descr[8];
	bool fortran;
	unsigned dims;
	uint64_t shape[MAX_DIMS];
	const char *at, *end; /* what is left of the text */
};

static const struct kind {
	char name[4];
	uint8_t bytes;
	uint8_t dtype; /* that keeps it, or NONE: becomes f64 */
} kinds[] = {
	{"f2", 2, FG_DTYPE_F16},  {"f4", 4, FG_DTYPE_F32},  {"f8", 8, FG_DTYPE_F64},
	{"u1", 1, FG_DTYPE_U8},	  {"i1", 1, FG_DTYPE_I8},   {"b1", 1, FG_DTYPE_NONE},
	{"i2", 2, FG_DTYPE_NONE}, {"i4", 4, FG_DTYPE_NONE}, {"i8", 8, FG_DTYPE_NONE},
	{"u2", 2, FG_DTYPE_NONE}, {"u4", 4, FG_DTYPE_NONE}, {"u8", 8, FG_DTYPE_NONE},
};

static bool take(struct npy *npy, const char *text)
{
	size_t length = strlen(text);

	while (npy->at < npy->end && (*npy->at == ' ' || *npy->at == '\n'))
		npy->at++;
	if ((size_t)(npy->end - npy->at) < length || memcmp(npy->at, text, length) != 0)
		return false;
	npy->at += length;
	return true;
}

static bool take_string(struct npy *npy, char *to, size_t room)
{
	const char *quote = take(npy, "'") ? "'" : take(npy, "\"") ? "\"" : NULL;
	size_t length = 0;

	if (!quote)
		return false;
	while (npy->at < npy->end && *npy->at != *quote && length + 1 < room)
		to[length++] = *npy->at++;
	to[length] = 0;
	return take(npy, quote);
}

static bool take_shape(struct npy *npy)
{
	npy->dims = 0;
	if (!take(npy, "("))
		return false;
	while (!take(npy, ")")) {
		uint64_t value = 0;
		const char *first;

		if (npy->dims == MAX_DIMS || (npy->dims && !take(npy, ",")))
			return false;
		if (take(npy, ")"))
			return true;
		for (first = npy->at; npy->at < npy->end && *npy->at >= '0' && *npy->at <= '9';)
			if (__builtin_mul_overflow(value, 10, &value) ||
			    __builtin_add_overflow(value, (uint64_t)(*npy->at++ - '0'), &value))
				return false;
		if (npy->at == first)
			return false;
		npy->shape[npy->dims++] = value;
	}
	return true;
}

static bool take_header(struct npy *npy)
{
	unsigned seen = 0;
	char key[16];

	if (!take(npy, "{"))
		return false;
	while (!take(npy, "}")) {
		if (!take_string(npy, key, sizeof(key)) || !take(npy, ":"))
			return false;
		if (strcmp(key, "descr") == 0 && take_string(npy, npy->descr, sizeof(npy->descr)))
			seen |= 1;
		else if (strcmp(key, "shape") == 0 && take_shape(npy))
			seen |= 2;
		else if (strcmp(key, "fortran_order") == 0 &&
			 ((npy->fortran = take(npy, "True")) || take(npy, "False")))
			seen |= 4;
		else
			return false;
		take(npy, ",");
	}
	return seen == 7;
}

/* Finds the text of the header and where the elements begin. */
static int open_header(struct npy *npy, const unsigned char *bytes, size_t length, size_t *data,
		       struct fg_error *error)
{
	size_t prefix, text;

	if (length < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0)
		return fg_error_set(error, -EINVAL, "not a .npy file");
	if (bytes[6] < 1 || bytes[6] > 3)
		return fg_error_set(error, -EINVAL, ".npy format version %u: 1 to 3 are known",
				    bytes[6]);
	prefix = bytes[6] == 1 ? 10 : 12;
	text = bytes[8] | (size_t)bytes[9] << 8;
	if (bytes[6] > 1)
		text |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
	if (text > length - prefix)
		return fg_error_set(error, -EINVAL, "the .npy header is cut short");
	npy->at = (const char *)bytes + prefix;
	npy->end = npy->at + text;
	*data = prefix + text;
	if (!take_header(npy))
		return fg_error_set(error, -EINVAL,
				    "the .npy header is no {'descr', 'fortran_order', 'shape'}");
	return 0;
}

static const struct kind *find_kind(const char *descr)
{
	if (*descr == '<' || *descr == '|')
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (strcmp(kinds[i].name, descr + 1) == 0)
				return &kinds[i];
	return NULL;
}

static double integer_at(const unsigned char *bytes, const struct kind *kind)
{
	uint64_t word = 0;
	unsigned spare = 64 - 8u * kind->bytes;

	memcpy(&word, bytes, kind->bytes);
	if (kind->name[0] == 'i')
		return (double)((int64_t)(word << spare) >> spare);
	return (double)word;
}

static int copy_elements(struct fg_matrix *matrix, const unsigned char *bytes,
			 const struct kind *kind, struct fg_error *error)
{
	size_t count = matrix->rows * matrix->cols;
	double *wide;

	matrix->dtype = kind->dtype ? kind->dtype : FG_DTYPE_F64;
	matrix->data = malloc(count * fg_dtype_bytes(matrix->dtype));
	if (!matrix->data)
		return fg_error_set(error, -ENOMEM, "%zu elements do not fit in memory", count);
	if (kind->dtype) {
		memcpy(matrix->data, bytes, count * kind->bytes);
		return 0;
	}
	wide = matrix->data;
	for (size_t i = 0; i < count; i++)
		wide[i] = integer_at(bytes + i * kind->bytes, kind);
	return 0;
}

int fg_npy_parse(struct fg_matrix *matrix, const void *bytes, size_t length, struct fg_error *error)
{
	struct npy npy = {.dims = 0};
	const struct kind *kind;
	uint64_t cols = 1, size;
	size_t data = 0;
	int code = open_header(&npy, bytes, length, &data, error);

	if (code)
		return code;
	kind = find_kind(npy.descr);
	if (!kind)
		return fg_error_set(error, -EINVAL,
				    "element type '%s': want little-endian numbers; in NumPy, "
				    "array.astype('<f4') makes them",
				    npy.descr);
	if (npy.fortran && npy.dims > 1)
		return fg_error_set(error, -EINVAL,
				    "Fortran order: numpy.ascontiguousarray makes C order");
	for (unsigned i = 1; i < npy.dims; i++)
		if (__builtin_mul_overflow(cols, npy.shape[i], &cols) || cols > UINT32_MAX)
			return fg_error_set(error, -EINVAL, "a row is too long");
	if (npy.dims == 0 || npy.shape[0] == 0 || cols == 0)
		return fg_error_set(error, -EINVAL, "want rows of numbers, this has none");
	if (__builtin_mul_overflow(npy.shape[0], cols * kind->bytes, &size) || size > length - data)
		return fg_error_set(error, -EINVAL,
				    "cut short: (%llu, %llu) of '%s' is more than the %zu bytes "
				    "there are",
				    (unsigned long long)npy.shape[0], (unsigned long long)cols,
				    npy.descr, length - data);
	matrix->rows = npy.shape[0];
	matrix->cols = (uint32_t)cols;
	matrix->dims = npy.dims;
	return copy_elements(matrix, (const unsigned char *)bytes + data, kind, error);
}

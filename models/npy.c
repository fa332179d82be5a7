#include <errno.h>
#include <string.h>
#include "models/npy.h"

/* The header: a Python dictionary of three keys, in any order. */
struct header {
	char descr[8];
	bool fortran;
	uint32_t dims;
	uint64_t shape[FG_NPY_MAX_DIMS];
	const char *at, *end; /* what is left of the text */
};

static bool take(struct header *header, const char *text)
{
	size_t length = strlen(text);

	while (header->at < header->end && (*header->at == ' ' || *header->at == '\n'))
		header->at++;
	if ((size_t)(header->end - header->at) < length || memcmp(header->at, text, length) != 0)
		return false;
	header->at += length;
	return true;
}

static bool take_string(struct header *header, char *to, size_t room)
{
	const char *quote = take(header, "'") ? "'" : take(header, "\"") ? "\"" : NULL;
	size_t length = 0;

	if (!quote)
		return false;
	while (header->at < header->end && *header->at != *quote && length + 1 < room)
		to[length++] = *header->at++;
	to[length] = 0;
	return take(header, quote);
}

static bool take_shape(struct header *header)
{
	header->dims = 0;
	if (!take(header, "("))
		return false;
	while (!take(header, ")")) {
		uint64_t value = 0;
		const char *first;

		if (header->dims == FG_NPY_MAX_DIMS || (header->dims && !take(header, ",")))
			return false;
		if (take(header, ")"))
			return true;
		for (first = header->at;
		     header->at < header->end && *header->at >= '0' && *header->at <= '9';)
			if (__builtin_mul_overflow(value, 10, &value) ||
			    __builtin_add_overflow(value, (uint64_t)(*header->at++ - '0'), &value))
				return false;
		if (header->at == first)
			return false;
		header->shape[header->dims++] = value;
	}
	return true;
}

static bool take_header(struct header *header)
{
	unsigned seen = 0;
	char key[16];

	if (!take(header, "{"))
		return false;
	while (!take(header, "}")) {
		if (!take_string(header, key, sizeof(key)) || !take(header, ":"))
			return false;
		if (strcmp(key, "descr") == 0 &&
		    take_string(header, header->descr, sizeof(header->descr)))
			seen |= 1;
		else if (strcmp(key, "shape") == 0 && take_shape(header))
			seen |= 2;
		else if (strcmp(key, "fortran_order") == 0 &&
			 ((header->fortran = take(header, "True")) || take(header, "False")))
			seen |= 4;
		else
			return false;
		take(header, ",");
	}
	return seen == 7;
}

/* Finds the text of the header and where the elements begin. */
static int open_header(struct header *header, const unsigned char *bytes, size_t length,
		       size_t *data, struct fg_error *error)
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
	header->at = (const char *)bytes + prefix;
	header->end = header->at + text;
	*data = prefix + text;
	if (!take_header(header))
		return fg_error_set(error, -EINVAL,
				    "the .npy header is no {'descr', 'fortran_order', 'shape'}");
	return 0;
}

/* "<f4" and the like: little-endian, or of one byte. */
static int read_kind(struct fg_npy *npy, const char *descr, struct fg_error *error)
{
	static const char kinds[][4] = {"f2", "f4", "f8", "u1", "i1", "b1",
					"i2", "i4", "i8", "u2", "u4", "u8"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if ((*descr != '<' && *descr != '|') || strcmp(kinds[i], descr + 1) != 0)
			continue;
		npy->kind = kinds[i][0];
		npy->bytes = (uint8_t)(kinds[i][1] - '0');
		return 0;
	}
	return fg_error_set(error, -EINVAL,
			    "element type '%s': want little-endian numbers; in NumPy, "
			    "array.astype('<f4') makes them",
			    descr);
}

int fg_npy_open(struct fg_npy *npy, const void *bytes, size_t length, struct fg_error *error)
{
	struct header header = {.dims = 0};
	size_t data = 0, size;
	int result = open_header(&header, bytes, length, &data, error);

	*npy = (struct fg_npy){.fortran = header.fortran, .dims = header.dims, .count = 1};
	if (!result)
		result = read_kind(npy, header.descr, error);
	if (result)
		return result;
	for (uint32_t i = 0; i < header.dims; i++) {
		npy->shape[i] = header.shape[i];
		if (__builtin_mul_overflow(npy->count, header.shape[i], &npy->count))
			return fg_error_set(error, -EINVAL, "its dimensions overflow");
	}
	if (__builtin_mul_overflow(npy->count, (size_t)npy->bytes, &size) || size > length - data)
		return fg_error_set(error, -EINVAL,
				    "cut short: %zu elements of '%s' are more than the %zu bytes "
				    "there are",
				    npy->count, header.descr, length - data);
	npy->data = (const unsigned char *)bytes + data;
	return 0;
}

double fg_npy_number(const struct fg_npy *npy, size_t i)
{
	const unsigned char *at = npy->data + i * npy->bytes;
	const unsigned int spare = 64 - 8u * npy->bytes;
	uint64_t word = 0;
	double wide;
	float narrow;

	memcpy(&word, at, npy->bytes);
	if (npy->kind == 'f' && npy->bytes == sizeof(narrow)) {
		memcpy(&narrow, at, sizeof(narrow));
		return narrow;
	}
	if (npy->kind == 'f') {
		memcpy(&wide, at, sizeof(wide));
		return wide;
	}
	if (npy->kind == 'i')
		return (double)((int64_t)(word << spare) >> spare);
	return (double)word;
}

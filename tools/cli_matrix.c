#include "tools/cli_matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILE ((size_t)8 << 30)

/* The whole file with a NUL behind it. */
static int slurp(int fd, char **bytes, size_t *length, struct fg_error *error)
{
	size_t room = 1 << 16;
	ssize_t got;

	*length = 0;
	*bytes = malloc(room + 1);
	while (*bytes) {
		got = read(fd, *bytes + *length, room - *length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fg_error_set(error, -errno, "%s", strerror(errno));
		if (got == 0) {
			(*bytes)[*length] = 0;
			return 0;
		}
		*length += (size_t)got;
		if (*length == room) {
			char *larger = room < MAX_FILE ? realloc(*bytes, room * 2 + 1) : NULL;

			if (!larger)
				break;
			*bytes = larger;
			room *= 2;
		}
	}
	return fg_error_set(error, -ENOMEM, "%zu bytes and more do not fit in memory", *length);
}

int fg_matrix_read(struct fg_matrix *matrix, const char *path, enum fg_csv_header header,
		   struct fg_error *error)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), code;
	struct fg_error inner = {.text = ""};
	char *bytes = NULL;
	size_t length;

	if (fd < 0)
		return fg_error_set(error, -errno, "%s: %s", path, strerror(errno));
	code = slurp(fd, &bytes, &length, &inner);
	if (!code && length >= 6 && memcmp(bytes, "\x93NUMPY", 6) == 0)
		code = fg_npy_parse(matrix, bytes, length, &inner);
	else if (!code)
		code = fg_csv_parse(matrix, bytes, length, header, &inner);
	if (code)
		fg_error_set(error, code, "%s: %s", is_stdin ? "stdin" : path, inner.text);
	else if (matrix->names && header == FG_CSV_HEADER_AUTO)
		fprintf(stderr,
			"flipgate: %s: line %zu holds names, not numbers, and is no row (--header "
			"no: it is one)\n",
			is_stdin ? "stdin" : path, matrix->names);
	free(bytes);
	if (!is_stdin)
		close(fd);
	return code;
}

int fg_matrix_convert(struct fg_matrix *matrix, uint8_t dtype, struct fg_error *error)
{
	size_t count = matrix->rows * matrix->cols;
	float *values;

	if (dtype == matrix->dtype)
		return 0;
	if (dtype != FG_DTYPE_F32)
		return fg_error_set(error, -EINVAL,
				    "holds %s, which can be sent as %s or f32, not as %s",
				    fg_dtype_name(matrix->dtype), fg_dtype_name(matrix->dtype),
				    fg_dtype_name(dtype));
	values = malloc(count * sizeof(*values));
	if (!values)
		return fg_error_set(error, -ENOMEM, "%zu floats do not fit in memory", count);
	fg_wire_to_f32(values, matrix->data, matrix->dtype, count);
	free(matrix->data);
	matrix->data = values;
	matrix->dtype = FG_DTYPE_F32;
	return 0;
}

double fg_matrix_at(const struct fg_matrix *matrix, size_t row, size_t col)
{
	const char *element = (const char *)matrix->data + row * fg_matrix_row_bytes(matrix) +
			      col * fg_dtype_bytes(matrix->dtype);
	double value;
	float narrow;

	if (matrix->dtype == FG_DTYPE_F64) {
		memcpy(&value, element, sizeof(value));
		return value;
	}
	fg_wire_to_f32(&narrow, element, matrix->dtype, 1);
	return narrow;
}

size_t fg_matrix_row_bytes(const struct fg_matrix *matrix)
{
	return matrix->cols * fg_dtype_bytes(matrix->dtype);
}

void fg_matrix_free(struct fg_matrix *matrix)
{
	free(matrix->data);
	matrix->data = NULL;
}

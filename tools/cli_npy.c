#include "tools/cli_matrix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "models/npy.h"

/* The type that keeps the elements as they are, or NONE: they become f64. */
static uint8_t keeping(const struct fg_npy *npy)
{
	if (npy->kind == 'f')
		return npy->bytes == 2	 ? FG_DTYPE_F16
		       : npy->bytes == 4 ? FG_DTYPE_F32
					 : FG_DTYPE_F64;
	if (npy->bytes != 1 || npy->kind == 'b')
		return FG_DTYPE_NONE;
	return npy->kind == 'u' ? FG_DTYPE_U8 : FG_DTYPE_I8;
}

static int copy_elements(struct fg_matrix *matrix, const struct fg_npy *npy, struct fg_error *error)
{
	uint8_t dtype = keeping(npy);

	matrix->dtype = dtype != FG_DTYPE_NONE ? dtype : FG_DTYPE_F64;
	matrix->data = malloc(npy->count * fg_dtype_bytes(matrix->dtype));
	if (!matrix->data)
		return fg_error_set(error, -ENOMEM, "%zu elements do not fit in memory",
				    npy->count);
	if (dtype != FG_DTYPE_NONE)
		memcpy(matrix->data, npy->data, npy->count * npy->bytes);
	for (size_t i = 0; dtype == FG_DTYPE_NONE && i < npy->count; i++)
		((double *)matrix->data)[i] = fg_npy_number(npy, i);
	return 0;
}

int fg_npy_parse(struct fg_matrix *matrix, const void *bytes, size_t length, struct fg_error *error)
{
	struct fg_npy npy;
	uint64_t cols = 1;
	int code = fg_npy_open(&npy, bytes, length, error);

	if (code)
		return code;
	if (npy.fortran && npy.dims > 1)
		return fg_error_set(error, -EINVAL,
				    "Fortran order: numpy.ascontiguousarray makes C order");
	for (uint32_t i = 1; i < npy.dims; i++)
		if (__builtin_mul_overflow(cols, npy.shape[i], &cols) || cols > UINT32_MAX)
			return fg_error_set(error, -EINVAL, "a row is too long");
	if (npy.dims == 0 || npy.shape[0] == 0 || cols == 0)
		return fg_error_set(error, -EINVAL, "want rows of numbers, this has none");
	matrix->names = 0;
	matrix->rows = npy.shape[0];
	matrix->cols = (uint32_t)cols;
	matrix->dims = npy.dims;
	return copy_elements(matrix, &npy, error);
}

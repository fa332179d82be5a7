/* Any file: what is read as rows must be there and convert. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli_matrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void use(struct fg_matrix *matrix)
{
	struct fg_error error;
	volatile double last;

	if (matrix->rows == 0 || matrix->cols == 0 || fg_matrix_row_bytes(matrix) == 0)
		abort();
	last = fg_matrix_at(matrix, matrix->rows - 1, matrix->cols - 1);
	(void)last;
	if (fg_matrix_convert(matrix, FG_DTYPE_F32, &error) == 0)
		last = fg_matrix_at(matrix, matrix->rows - 1, matrix->cols - 1);
	fg_matrix_free(matrix);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *text = malloc(length + 1);
	struct fg_matrix matrix;
	struct fg_error error;

	if (fg_npy_parse(&matrix, bytes, length, &error) == 0)
		use(&matrix);
	if (!text)
		return 0;
	memcpy(text, bytes, length);
	text[length] = 0;
	if (fg_csv_parse(&matrix, text, length, FG_CSV_HEADER_AUTO, &error) == 0)
		use(&matrix);
	free(text);
	return 0;
}

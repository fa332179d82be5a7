/* cli_matrix.h: rows of numbers from .npy and .csv files. */
#ifndef FG_TOOLS_CLI_MATRIX_H
#define FG_TOOLS_CLI_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "userspace/protocol/wire.h"

/* (rows, cols), row-major, owned by whoever read it; fg_matrix_free ends it. */
struct fg_matrix {
	size_t rows;
	uint32_t cols;
	uint32_t dims; /* of the array in the file: 1 is (n), read as (n, 1) */
	uint8_t dtype; /* enum fg_dtype, one that has elements */
	size_t names;  /* number of the text's line that holds names, from 1; 0: none */
	void *data;
};

/* Is the first line of a text one of names? AUTO: if none of its fields is a number, and not all
 * are empty. */
enum fg_csv_header { FG_CSV_HEADER_AUTO = 0, FG_CSV_HEADER_YES, FG_CSV_HEADER_NO };

/* "auto", "yes" or "no"; false for any other word. */
bool fg_csv_parse_header(const char *word, enum fg_csv_header *header);

/*
 * Reads a file, or stdin for "-": .npy by its magic, else text, and says on stderr when AUTO took
 * its first line for names. Returns 0, or -EINVAL with *error naming the file and what in it is
 * wrong, or the errno of opening or reading it.
 */
int fg_matrix_read(struct fg_matrix *matrix, const char *path, enum fg_csv_header header,
		   struct fg_error *error);

/*
 * NumPy's format (numpy.lib.format, versions 1 to 3): C order, little-endian, of one dimension or
 * more; all but the first are the columns. f2, f4, f8, u1 and i1 keep their type, other integers
 * and bool become f64. `bytes` is only read.
 */
int fg_npy_parse(struct fg_matrix *matrix, const void *bytes, size_t length,
		 struct fg_error *error);

/*
 * Text: one row per line, numbers separated by commas, semicolons, blanks or tabs; empty lines and
 * lines that begin with # are skipped, and so is a first line of names. Gives f64. A field that is
 * empty is no number: a missing value is written nan. `text` has a NUL at text[length]; it is only
 * read.
 */
int fg_csv_parse(struct fg_matrix *matrix, const char *text, size_t length,
		 enum fg_csv_header header, struct fg_error *error);

/* Converts in place. Only to f32, or from a type to itself: -EINVAL otherwise. */
int fg_matrix_convert(struct fg_matrix *matrix, uint8_t dtype, struct fg_error *error);

/* Element (row, col) as a double. */
double fg_matrix_at(const struct fg_matrix *matrix, size_t row, size_t col);

size_t fg_matrix_row_bytes(const struct fg_matrix *matrix);

void fg_matrix_free(struct fg_matrix *matrix);

#endif

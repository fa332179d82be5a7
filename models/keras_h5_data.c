/* Datasets in HDF5 files: see keras_h5.h. */
#include <errno.h>
#include <math.h>
#include <hdf5.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#include "models/file.h"
#include "models/keras_h5_parts.h"

#define MAX_CHUNKS	4096u
#define MAX_CHUNK_BYTES (64u << 20)

const char *fg_keras_h5_shape(uint32_t rank, const int64_t *dims, char *out, size_t size)
{
	size_t at = (size_t)snprintf(out, size, "(");

	for (uint32_t i = 0; i < rank && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "",
				       (long long)dims[i]);
	if (at < size)
		snprintf(out + at, size - at, ")");
	return out;
}

/* True for the IEEE layouts of 16, 32 and 64 bits and bfloat16, in either byte order. */
static bool is_float(hid_t type)
{
	static const struct {
		size_t bytes, sign, exponent, exponent_bits, mantissa_bits, bias;
	} known[] = {{2, 15, 10, 5, 10, 15},
		     {2, 15, 7, 8, 7, 127},
		     {4, 31, 23, 8, 23, 127},
		     {8, 63, 52, 11, 52, 1023}};
	size_t sign, exponent, exponent_bits, mantissa, mantissa_bits;
	H5T_order_t order = H5Tget_order(type);

	if (H5Tget_class(type) != H5T_FLOAT || H5Tget_offset(type) != 0 ||
	    H5Tget_precision(type) != H5Tget_size(type) * 8 ||
	    H5Tget_norm(type) != H5T_NORM_IMPLIED ||
	    (order != H5T_ORDER_LE && order != H5T_ORDER_BE) ||
	    H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits) < 0)
		return false;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (H5Tget_size(type) == known[i].bytes && sign == known[i].sign &&
		    exponent == known[i].exponent && exponent_bits == known[i].exponent_bits &&
		    mantissa == 0 && mantissa_bits == known[i].mantissa_bits &&
		    H5Tget_ebias(type) == known[i].bias)
			return true;
	return false;
}

struct dataset {
	const char *path;
	hid_t id;
	hid_t type;
	hid_t space;
	hid_t plist; /* how it is stored */
	uint32_t rank;
	hsize_t dims[FG_GRAPH_MAX_RANK];
	uint64_t count;
	int deflate;	/* its place among the filters; -1: none */
	int fletcher32; /* likewise; a chunk is 4 bytes longer by it */
};

static int check_shape(const struct fg_keras_h5 *h5, struct dataset *set, uint32_t rank,
		       const int64_t *dims)
{
	int64_t found[FG_GRAPH_MAX_RANK] = {0};
	char is[96], wanted[96];
	int found_rank = H5Sget_simple_extent_ndims(set->space);
	bool fits = found_rank == (int)rank && H5Sget_simple_extent_type(set->space) != H5S_NULL;

	if (found_rank < 0 || found_rank > FG_GRAPH_MAX_RANK ||
	    H5Sget_simple_extent_dims(set->space, set->dims, NULL) < 0)
		return fg_error_set(h5->error, -EINVAL, "'%.120s' is not an array", set->path);
	set->rank = rank;
	set->count = 1;
	for (int i = 0; i < found_rank; i++) {
		found[i] = (int64_t)set->dims[i];
		fits = fits && found[i] == dims[i];
	}
	if (!fits)
		return fg_error_set(h5->error, -EINVAL,
				    "'%.100s' has the shape %s, the layer's config asks for %s",
				    set->path,
				    fg_keras_h5_shape((uint32_t)found_rank, found, is, sizeof(is)),
				    fg_keras_h5_shape(rank, dims, wanted, sizeof(wanted)));
	for (uint32_t i = 0; i < rank; i++)
		if (__builtin_mul_overflow(set->count, set->dims[i], &set->count))
			set->count = UINT64_MAX;
	if (set->count > h5->left_bytes / sizeof(float))
		return fg_error_set(h5->error, -EINVAL,
				    "'%.120s': more than %lld bytes of "
				    "variables",
				    set->path, (long long)FG_FILE_MAX_BYTES);
	return 0;
}

static int check_type(const struct fg_keras_h5 *h5, const struct dataset *set)
{
	if (H5Tcommitted(set->type) != 0)
		return fg_error_set(h5->error, -EINVAL, "'%.120s' has a named type", set->path);
	if (!is_float(set->type))
		return fg_error_set(h5->error, -EINVAL,
				    "'%.120s' does not hold floats: quantized models are not "
				    "supported, save it as float32",
				    set->path);
	return 0;
}

static int check_filters(const struct fg_keras_h5 *h5, struct dataset *set)
{
	int count = H5Pget_nfilters(set->plist);
	bool seen[H5Z_FILTER_FLETCHER32 + 1] = {false};

	set->deflate = set->fletcher32 = -1;
	if (count < 0)
		return fg_keras_h5_damaged(h5, set->path);
	for (int i = 0; i < count; i++) {
		unsigned int flags, config;
		size_t values = 0;
		H5Z_filter_t filter = H5Pget_filter2(set->plist, (unsigned int)i, &flags, &values,
						     NULL, 0, NULL, &config);

		if (filter < H5Z_FILTER_DEFLATE || filter > H5Z_FILTER_FLETCHER32 || seen[filter])
			return fg_error_set(h5->error, -EINVAL,
					    "'%.120s' is stored with filter %d: only deflate, "
					    "shuffle and fletcher32 are supported",
					    set->path, (int)filter);
		seen[filter] = true;
		if (filter == H5Z_FILTER_DEFLATE)
			set->deflate = i;
		if (filter == H5Z_FILTER_FLETCHER32)
			set->fletcher32 = i;
	}
	return 0;
}

/*
 * libhdf5 inflates a chunk whatever it becomes, and reads what it should be whatever it became. So
 * this is tried first, and thrown away.
 */
static int check_inflated(const struct fg_keras_h5 *h5, const struct dataset *set, const void *raw,
			  size_t size, uint64_t wanted)
{
	z_stream stream = {.next_in = (Bytef *)(uintptr_t)raw, .avail_in = (uInt)size};
	uint8_t part[4096];
	int result;

	if (inflateInit(&stream) != Z_OK)
		return fg_keras_h5_no_memory(h5);
	do {
		stream.next_out = part;
		stream.avail_out = sizeof(part);
		result = inflate(&stream, Z_NO_FLUSH);
	} while (result == Z_OK && stream.total_out <= wanted);
	inflateEnd(&stream);
	if (result != Z_STREAM_END || stream.total_out != wanted)
		return fg_error_set(h5->error, -EINVAL,
				    "'%.120s': compressed data is damaged, or not as much as it "
				    "should be",
				    set->path);
	return 0;
}

static bool is_applied(int filter, unsigned int mask)
{
	return filter >= 0 && !(mask >> filter & 1);
}

static int check_chunk(const struct fg_keras_h5 *h5, const struct dataset *set, uint64_t index,
		       uint64_t chunk_bytes)
{
	hsize_t offset[FG_GRAPH_MAX_RANK], size;
	struct fg_arena scratch = {0};
	uint64_t sum, inflated;
	unsigned int mask;
	uint32_t filters;
	haddr_t at;
	void *raw;
	int result;

	if (H5Dget_chunk_info(set->id, set->space, index, offset, &mask, &at, &size) < 0)
		return fg_keras_h5_damaged(h5, set->path);
	sum = is_applied(set->fletcher32, mask) ? 4 : 0;
	/* Deflate makes nothing larger by more than this. */
	if (is_applied(set->deflate, mask) ? size > chunk_bytes + chunk_bytes / 512 + 64
					   : size != chunk_bytes + sum)
		return fg_error_set(h5->error, -EINVAL, "'%.120s': a chunk has %llu bytes",
				    set->path, (unsigned long long)size);
	if (!is_applied(set->deflate, mask))
		return 0;
	/* A checksum that was added before deflate is inside of it. */
	inflated = chunk_bytes + (set->fletcher32 < set->deflate ? sum : 0);
	raw = fg_arena_alloc(&scratch, size, 1);
	if (!raw)
		result = fg_keras_h5_no_memory(h5);
	else if (H5Dread_chunk(set->id, H5P_DEFAULT, offset, &filters, raw) < 0)
		result = fg_keras_h5_damaged(h5, set->path);
	else
		result = check_inflated(h5, set, raw, size, inflated);
	fg_arena_free(&scratch);
	return result;
}

static int check_chunks(const struct fg_keras_h5 *h5, const struct dataset *set)
{
	hsize_t chunk[FG_GRAPH_MAX_RANK], found;
	uint64_t bytes = H5Tget_size(set->type), wanted = 1;
	int result = 0;

	if (H5Pget_chunk(set->plist, (int)set->rank, chunk) != (int)set->rank)
		return fg_keras_h5_damaged(h5, set->path);
	for (uint32_t i = 0; i < set->rank; i++) {
		if (chunk[i] == 0 || chunk[i] > MAX_CHUNK_BYTES / bytes)
			return fg_error_set(h5->error, -EINVAL,
					    "'%.120s': chunks of more than %u MiB", set->path,
					    MAX_CHUNK_BYTES >> 20);
		bytes *= chunk[i];
		wanted *= (set->dims[i] + chunk[i] - 1) / chunk[i];
		if (wanted > MAX_CHUNKS)
			return fg_error_set(h5->error, -EINVAL, "'%.120s': more than %u chunks",
					    set->path, MAX_CHUNKS);
	}
	if (H5Dget_num_chunks(set->id, set->space, &found) < 0)
		return fg_keras_h5_damaged(h5, set->path);
	if (found != wanted)
		return fg_error_set(h5->error, -EINVAL, "'%.120s': data is missing", set->path);
	for (uint64_t i = 0; !result && i < found; i++)
		result = check_chunk(h5, set, i, bytes);
	return result;
}

static int check_storage(const struct fg_keras_h5 *h5, struct dataset *set)
{
	H5D_layout_t layout = H5Pget_layout(set->plist);
	int result;

	if (layout == H5D_VIRTUAL ||
	    (layout == H5D_CONTIGUOUS && H5Pget_external_count(set->plist)))
		return fg_error_set(h5->error, -EINVAL,
				    "'%.120s' has its data in another file: save the model with "
				    "Keras",
				    set->path);
	result = check_filters(h5, set);
	if (result)
		return result;
	switch (layout) {
	case H5D_COMPACT:
		return 0;
	case H5D_CONTIGUOUS:
		if (H5Dget_offset(set->id) == HADDR_UNDEF ||
		    H5Dget_storage_size(set->id) != set->count * H5Tget_size(set->type))
			return fg_error_set(h5->error, -EINVAL, "'%.120s': data is missing",
					    set->path);
		return 0;
	case H5D_CHUNKED:
		return check_chunks(h5, set);
	default:
		return fg_keras_h5_damaged(h5, set->path);
	}
}

/* A float64 beyond float32 has become an infinity. */
static int check_range(struct fg_keras_h5 *h5, const struct dataset *set, const float *floats)
{
	for (uint64_t i = 0; H5Tget_size(set->type) == 8 && i < set->count; i++)
		if (isinf(floats[i]))
			return fg_error_set(h5->error, -EINVAL,
					    "'%.120s': number %llu is beyond float32, with which "
					    "models are computed: save smaller weights",
					    set->path, (unsigned long long)i);
	return 0;
}

static int read_floats(struct fg_keras_h5 *h5, struct dataset *set, uint32_t rank,
		       const int64_t *dims, const float **floats)
{
	float *to;
	int result = check_shape(h5, set, rank, dims);

	if (!result)
		result = check_type(h5, set);
	if (!result)
		result = check_storage(h5, set);
	if (result)
		return result;
	to = fg_arena_alloc(h5->arena, set->count, sizeof(*to));
	if (!to)
		return fg_keras_h5_no_memory(h5);
	if (H5Dread(set->id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) < 0)
		return fg_keras_h5_damaged(h5, set->path);
	h5->left_bytes -= set->count * sizeof(*to);
	*floats = to;
	return check_range(h5, set, to);
}

int fg_keras_h5_floats(struct fg_keras_h5 *h5, const char *path, uint32_t rank, const int64_t *dims,
		       const float **floats)
{
	struct dataset set = {.path = path};
	int result = fg_keras_h5_open_path(h5, path, &set.id);

	if (result)
		return result;
	if (H5Iget_type(set.id) != H5I_DATASET) {
		H5Oclose(set.id);
		return fg_error_set(h5->error, -EINVAL, "'%.120s' is not a dataset", path);
	}
	set.type = H5Dget_type(set.id);
	set.space = H5Dget_space(set.id);
	set.plist = H5Dget_create_plist(set.id);
	if (set.type < 0 || set.space < 0 || set.plist < 0)
		result = fg_keras_h5_damaged(h5, path);
	else
		result = read_floats(h5, &set, rank, dims, floats);
	if (set.plist >= 0)
		H5Pclose(set.plist);
	if (set.space >= 0)
		H5Sclose(set.space);
	if (set.type >= 0)
		H5Tclose(set.type);
	H5Oclose(set.id);
	return result;
}

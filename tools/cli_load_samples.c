#include "tools/cli_load.h"
#include "tools/cli_ports.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

uint64_t fg_load_due_ns(const struct fg_load *load, uint32_t i)
{
	return (uint64_t)((double)i * (1e9 / load->config->rate));
}

/*
 * Flows take turns: request i goes to slot i mod flows. When flows end, a slot's first one is given
 * a part of its life only, another part in each slot, so that the ends lie evenly in time.
 */
uint32_t fg_load_flow(const struct fg_load_config *config, uint32_t i)
{
	uint32_t slot = i % config->flows, turn = i / config->flows;
	uint64_t age;

	if (config->flow_requests == 0)
		return slot;
	age = turn + (uint64_t)slot * config->flow_requests / config->flows;
	return (uint32_t)(age / config->flow_requests) * config->flows + slot;
}

uint32_t fg_load_flow_of(const struct fg_load *load, uint32_t i)
{
	return load->is_stream ? load->samples[i].connection : fg_load_flow(load->config, i);
}

size_t fg_load_row(const struct fg_load_config *config, uint32_t i)
{
	return (size_t)((uint64_t)i * config->rows_per_request % config->input.rows);
}

static unsigned find_version(struct fg_load *load, uint64_t version)
{
	unsigned v;

	for (v = 0; v < load->version_count; v++)
		if (load->versions[v].version == version)
			return v;
	if (v == FG_LOAD_MAX_VERSIONS)
		return v - 1; /* more than anybody serves: the last stands for all others */
	load->versions[v].version = version;
	for (uint32_t e = 0; e < load->config->expect_count; e++)
		if (load->config->expects[e].version == version)
			load->versions[v].expected = &load->config->expects[e].outputs;
	load->version_count++;
	return v;
}

/* Holds one row of output against what its version must answer. */
static void check_row(struct fg_load *load, const struct fg_matrix *expected, size_t row,
		      const float *out, uint32_t cols)
{
	double worst = cols == expected->cols ? 0 : INFINITY;

	for (uint32_t col = 0; cols == expected->cols && col < cols; col++) {
		double want = fg_matrix_at(expected, row, col), got = (double)out[col];
		double error = isnan(want) && isnan(got) ? 0 : fabs(got - want);

		if (isnan(error))
			error = INFINITY;
		if (error > worst)
			worst = error;
	}
	if (worst > load->max_abs_error)
		load->max_abs_error = worst;
	load->checked_outputs++;
	load->wrong_outputs += worst > load->config->tolerance;
}

static void check(struct fg_load *load, struct fg_load_version *version, uint32_t i,
		  const struct fg_wire_header *header, const float *out)
{
	const struct fg_load_config *config = load->config;
	uint32_t cols = header->rows == config->rows_per_request ? header->cols : 0;
	size_t first = fg_load_row(config, i);

	for (uint32_t r = 0; r < config->rows_per_request; r++, out += cols) {
		size_t row = (first + r) % config->input.rows;

		if (version->expected)
			check_row(load, version->expected, row, out, cols);
		if (config->labels.data) {
			version->labelled++;
			version->correct += cols == load->out_cols &&
					    fg_cli_class_of(&load->classes, out) ==
						    fg_matrix_at(&config->labels, row, 0);
		}
	}
}

void fg_load_take(struct fg_load *load, uint32_t i, const struct fg_wire_header *header,
		  const void *payload)
{
	struct fg_load_sample *sample = &load->samples[i];

	sample->status = header->status;
	sample->generation = header->generation;
	if (header->status != FG_STATUS_OK)
		return;
	sample->version = (uint8_t)find_version(load, header->model_version);
	check(load, &load->versions[sample->version], i, header, payload);
}

int fg_load_trace(const struct fg_load *load, const char *path)
{
	FILE *file = fopen(path, "we");
	int code;

	if (!file)
		return -errno;
	fputs("request,due_ns,lag_ns,rtt_ns,flow,row,status,version,generation\n", file);
	for (uint32_t i = 0; i < load->sent; i++) {
		const struct fg_load_sample *sample = &load->samples[i];
		bool ok = sample->rtt_ns && sample->status == FG_STATUS_OK;

		fprintf(file, "%u,%llu,%u,%llu,%u,%zu,%s,%llu,%u\n", i,
			(unsigned long long)fg_load_due_ns(load, i), sample->lag_ns,
			(unsigned long long)sample->rtt_ns, fg_load_flow_of(load, i),
			fg_load_row(load->config, i),
			sample->rtt_ns ? fg_status_name(sample->status) : "lost",
			ok ? (unsigned long long)load->versions[sample->version].version : 0ull,
			sample->generation);
	}
	code = ferror(file) ? -EIO : 0;
	return fclose(file) ? -errno : code;
}

void fg_load_free(struct fg_load *load)
{
	if (load->samples)
		munmap(load->samples, load->room * sizeof(*load->samples));
	load->samples = NULL;
}

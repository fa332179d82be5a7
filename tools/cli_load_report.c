/* The report of a load, derived from its samples. flipgate(1) says what each key means. */
#include "tools/cli_load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "sched/histogram.h"

#define MAX_FLIPS   256
#define TIMELINE_NS 100000000ull
#define NOTHING	    0xff

struct flip {
	uint32_t first, at, last; /* samples [first, last] lie around sample `at` */
	uint32_t generation;
	uint8_t version;
};

/* Of one flow: indices into fg_load.versions, NOTHING before its first reply. */
struct flow {
	uint8_t began, finished;
	bool is_mixed, is_sent;
};

struct report {
	const struct fg_load *load;
	uint32_t warm; /* the first sample that is measured */
	struct flip flips[MAX_FLIPS];
	unsigned flip_count;
	struct flow *flows;
	uint32_t flow_count;
	struct fg_histogram all, steady, before, during, after, part;
};

/* A reply with an output, in time: what round trips are measured of. */
static bool is_ok(const struct fg_load_sample *sample)
{
	return sample->rtt_ns && sample->status == FG_STATUS_OK;
}

static double seconds_of(const struct report *report, uint32_t i)
{
	return ((double)fg_load_due_ns(report->load, i) - (double)report->load->config->warmup_ns) /
	       1e9;
}

/* Times are written in us, to the ns. */
static json_t *us_of(double ns)
{
	return json_real(round(ns) / 1e3);
}

static void set_us(json_t *object, const char *key, double ns)
{
	json_object_set_new(object, key, us_of(ns));
}

static void set_count(json_t *object, const char *key, uint64_t count)
{
	json_object_set_new(object, key, json_integer((json_int_t)count));
}

static json_t *quantiles_of(const struct fg_histogram *histogram)
{
	json_t *object = json_object();

	set_us(object, "p50", (double)fg_histogram_quantile(histogram, 0.5));
	set_us(object, "p99", (double)fg_histogram_quantile(histogram, 0.99));
	set_us(object, "p999", (double)fg_histogram_quantile(histogram, 0.999));
	set_us(object, "max", (double)histogram->max_ns);
	set_count(object, "count", histogram->count);
	return object;
}

/* ---- flips ---------------------------------------------------------------------------------- */

/* The number of the last request that is due at or before `ns`. */
static uint32_t due_by(const struct fg_load *load, double ns)
{
	double i = floor(ns / 1e9 * load->config->rate);

	if (i < 0)
		return 0;
	return i >= load->sent ? load->sent - 1 : (uint32_t)i;
}

static void add_flip(struct report *report, uint32_t at)
{
	const struct fg_load *load = report->load;
	double due = (double)fg_load_due_ns(load, at);
	double half = (double)load->config->flip_window_ns / 2;
	struct flip *flip = &report->flips[report->flip_count++];

	flip->at = at;
	flip->first = due > half ? due_by(load, due - half) : 0;
	flip->last = due_by(load, due + half);
	flip->generation = load->samples[at].generation;
	flip->version = load->samples[at].version;
}

/* In the order of intended times: each reply of a newer generation than any before it. */
static void find_flips(struct report *report)
{
	const struct fg_load *load = report->load;
	uint32_t newest = 0;

	for (uint32_t i = 0; i < load->sent; i++) {
		const struct fg_load_sample *sample = &load->samples[i];

		if (!is_ok(sample) || sample->generation <= newest)
			continue;
		if (newest && report->flip_count < MAX_FLIPS)
			add_flip(report, i);
		newest = sample->generation;
	}
}

/* Puts each round trip where it belongs. Windows begin in order, and may overlap. */
static void sort_samples(struct report *report)
{
	const struct fg_load *load = report->load;
	unsigned begun = 0;
	uint32_t last = 0; /* of the windows begun */

	for (uint32_t i = 0; i < load->sent; i++) {
		const struct fg_load_sample *sample = &load->samples[i];
		struct fg_histogram *phase = NULL;

		while (begun < report->flip_count && report->flips[begun].first <= i)
			last = report->flips[begun++].last;
		if (i < report->warm || !is_ok(sample))
			continue;
		fg_histogram_record(&report->all, sample->rtt_ns);
		if (begun && i <= last)
			phase = &report->during;
		else
			fg_histogram_record(&report->steady, sample->rtt_ns);
		if (begun == 0)
			phase = &report->before;
		else if (begun == report->flip_count && i > last)
			phase = &report->after;
		if (phase)
			fg_histogram_record(phase, sample->rtt_ns);
	}
}

static void fill_part(struct report *report, uint32_t first, uint32_t last)
{
	fg_histogram_reset(&report->part);
	for (uint32_t i = first > report->warm ? first : report->warm; i <= last; i++)
		if (is_ok(&report->load->samples[i]))
			fg_histogram_record(&report->part, report->load->samples[i].rtt_ns);
}

static json_t *flips_of(struct report *report)
{
	json_t *flips = json_array();

	for (unsigned f = 0; f < report->flip_count; f++) {
		const struct flip *flip = &report->flips[f];
		json_t *object = json_object();

		fill_part(report, flip->first, flip->last);
		json_object_set_new(object, "at_s", json_real(seconds_of(report, flip->at)));
		set_count(object, "to_version", report->load->versions[flip->version].version);
		set_count(object, "to_generation", flip->generation);
		json_object_set_new(object, "around", quantiles_of(&report->part));
		json_array_append_new(flips, object);
	}
	return flips;
}

static json_t *timeline_of(struct report *report)
{
	const struct fg_load *load = report->load;
	json_t *timeline = json_array();
	uint32_t i = report->warm;

	while (i < load->sent) {
		uint64_t window = (fg_load_due_ns(load, i) - load->config->warmup_ns) / TIMELINE_NS;
		json_t *object;

		fg_histogram_reset(&report->part);
		for (; i < load->sent &&
		       (fg_load_due_ns(load, i) - load->config->warmup_ns) / TIMELINE_NS == window;
		     i++)
			if (is_ok(&load->samples[i]))
				fg_histogram_record(&report->part, load->samples[i].rtt_ns);
		object = json_object();
		json_object_set_new(object, "t_s", json_real((double)(window * TIMELINE_NS) / 1e9));
		set_count(object, "count", report->part.count);
		set_us(object, "p50", (double)fg_histogram_quantile(&report->part, 0.5));
		set_us(object, "p99", (double)fg_histogram_quantile(&report->part, 0.99));
		set_us(object, "max", (double)report->part.max_ns);
		json_array_append_new(timeline, object);
	}
	return timeline;
}

/* ---- flows and versions --------------------------------------------------------------------- */

static int find_flows(struct report *report)
{
	const struct fg_load *load = report->load;
	uint32_t slots = load->config->flows;

	/* Flow numbers rise within a slot: the largest is among the last request of each. */
	report->flow_count = load->connections;
	for (uint32_t i = load->sent > slots ? load->sent - slots : 0; i < load->sent; i++)
		if (fg_load_flow_of(load, i) >= report->flow_count)
			report->flow_count = fg_load_flow_of(load, i) + 1;
	report->flows = calloc(report->flow_count + 1, sizeof(*report->flows));
	if (!report->flows)
		return -1;
	for (uint32_t f = 0; f < report->flow_count; f++)
		report->flows[f].began = report->flows[f].finished = NOTHING;
	for (uint32_t i = 0; i < load->sent; i++) {
		struct flow *flow = &report->flows[fg_load_flow_of(load, i)];
		const struct fg_load_sample *sample = &load->samples[i];

		flow->is_sent = true;
		if (!is_ok(sample))
			continue;
		if (flow->began == NOTHING)
			flow->began = sample->version;
		else if (flow->finished != sample->version)
			flow->is_mixed = true;
		flow->finished = sample->version;
	}
	return 0;
}

static void count_version(json_t *object, const struct report *report, uint8_t version)
{
	char key[24];

	if (version == NOTHING)
		return;
	snprintf(key, sizeof(key), "%llu",
		 (unsigned long long)report->load->versions[version].version);
	set_count(object, key, (uint64_t)json_integer_value(json_object_get(object, key)) + 1);
}

static json_t *flows_of(const struct report *report)
{
	json_t *flows = json_object(), *began = json_object(), *finished = json_object();
	uint32_t total = 0;

	for (uint32_t f = 0; f < report->flow_count; f++) {
		total += report->flows[f].is_sent;
		count_version(began, report, report->flows[f].began);
		count_version(finished, report, report->flows[f].finished);
	}
	set_count(flows, "total", total);
	json_object_set_new(flows, "began_on", began);
	json_object_set_new(flows, "finished_on", finished);
	return flows;
}

static uint64_t mixed_flows(const struct report *report)
{
	uint64_t mixed = 0;

	for (uint32_t f = 0; f < report->flow_count; f++)
		mixed += report->flows[f].is_mixed;
	return mixed;
}

static void set_ns(json_t *object, const char *key, const struct report *report, uint32_t i)
{
	json_object_set_new(object, key, json_integer((json_int_t)(seconds_of(report, i) * 1e9)));
}

static json_t *version_of(const struct report *report, unsigned v)
{
	const struct fg_load *load = report->load;
	const struct fg_load_version *version = &load->versions[v];
	json_t *object = json_object();
	uint64_t replies = 0, flows_only = 0;
	uint32_t first = UINT32_MAX, last = 0;

	for (uint32_t i = 0; i < load->sent; i++) {
		if (!is_ok(&load->samples[i]) || load->samples[i].version != v)
			continue;
		if (first == UINT32_MAX)
			first = i;
		last = i;
		replies += i >= report->warm;
	}
	for (uint32_t f = 0; f < report->flow_count; f++)
		flows_only += report->flows[f].began == v && !report->flows[f].is_mixed;
	set_count(object, "replies", replies);
	set_count(object, "flows_only", flows_only);
	if (version->labelled)
		json_object_set_new(object, "accuracy",
				    json_real((double)version->correct /
					      (double)version->labelled));
	if (first != UINT32_MAX) {
		set_ns(object, "first_ns", report, first);
		set_ns(object, "last_ns", report, last);
	}
	return object;
}

static json_t *versions_of(const struct report *report)
{
	json_t *versions = json_object();

	for (unsigned v = 0; v < report->load->version_count; v++) {
		char key[24];

		snprintf(key, sizeof(key), "%llu",
			 (unsigned long long)report->load->versions[v].version);
		json_object_set_new(versions, key, version_of(report, v));
	}
	return versions;
}

/* ---- counts --------------------------------------------------------------------------------- */

static void set_counts(json_t *object, const struct report *report)
{
	const struct fg_load *load = report->load;
	uint64_t requests = 0, replies = 0, statuses[FG_STATUS_COUNT + 1] = {0};
	json_t *errors = json_object();
	uint32_t lag_ns = 0;

	for (uint32_t i = report->warm; i < load->sent; i++) {
		const struct fg_load_sample *sample = &load->samples[i];

		requests++;
		replies += sample->rtt_ns != 0;
		if (sample->rtt_ns)
			statuses[sample->status < FG_STATUS_COUNT ? sample->status
								  : FG_STATUS_COUNT]++;
		if (sample->lag_ns > lag_ns)
			lag_ns = sample->lag_ns;
	}
	for (uint8_t s = FG_STATUS_OK + 1; s <= FG_STATUS_COUNT; s++)
		if (statuses[s])
			set_count(errors, fg_status_name(s), statuses[s]);
	set_count(object, "requests", requests);
	set_count(object, "replies", replies);
	set_count(object, "lost", requests - replies);
	set_count(object, "late", load->late);
	set_count(object, "not_sent", load->count - load->sent);
	set_count(object, "duplicates", load->duplicates);
	set_count(object, "strays", load->strays);
	set_count(object, "socket_errors", load->socket_errors);
	if (load->socket_errors)
		json_object_set_new(object, "last_socket_error",
				    json_string(strerror(load->last_socket_error)));
	set_count(object, "resets", load->resets);
	set_count(object, "ends", load->ends);
	set_count(object, "leaving", load->leaving);
	set_count(object, "reconnects", load->reconnects);
	set_count(object, "retried", load->retried);
	json_object_set_new(object, "errors", errors);
	set_us(object, "send_lag_us", lag_ns);
}

static void set_checks(json_t *object, const struct report *report)
{
	const struct fg_load *load = report->load;

	set_count(object, "mixed_version_flows", mixed_flows(report));
	set_count(object, "checked_outputs", load->checked_outputs);
	set_count(object, "wrong_outputs", load->wrong_outputs);
	/* JSON has no infinity (a NaN, or a row of another length): null. */
	json_object_set_new(object, "max_abs_error",
			    isfinite(load->max_abs_error) ? json_real(load->max_abs_error)
							  : json_null());
}

static void set_rates(json_t *object, const struct fg_load *load)
{
	double took_s = (double)(load->last_sent_ns - load->first_sent_ns) / 1e9;
	double due_s = (double)fg_load_due_ns(load, load->sent) / 1e9;
	double warmup_s = (double)load->config->warmup_ns / 1e9;

	json_object_set_new(object, "duration_s",
			    json_real(due_s > warmup_s ? due_s - warmup_s : 0));
	json_object_set_new(object, "rate_wanted", json_real(load->config->rate));
	json_object_set_new(object, "rate_sent",
			    json_real(took_s > 0 ? (load->sent - 1) / took_s : 0));
	json_object_set_new(object, "flow_gap_ms",
			    json_real(load->config->flows / load->config->rate * 1e3));
}

static json_t *build(struct report *report)
{
	json_t *object = json_object(), *rtt, *phases = json_object();

	json_object_set_new(object, "address", json_string(report->load->config->address));
	json_object_set_new(object, "model", json_string(report->load->config->model));
	set_counts(object, report);
	set_checks(object, report);
	set_rates(object, report->load);
	json_object_set_new(object, "versions", versions_of(report));
	json_object_set_new(object, "flows", flows_of(report));
	rtt = quantiles_of(&report->all);
	set_us(rtt, "p90", (double)fg_histogram_quantile(&report->all, 0.9));
	set_us(rtt, "mean", fg_histogram_mean(&report->all));
	json_object_set_new(object, "rtt_us", rtt);
	json_object_set_new(object, "flips", flips_of(report));
	json_object_set_new(object, "steady", quantiles_of(&report->steady));
	json_object_set_new(phases, "before", quantiles_of(&report->before));
	json_object_set_new(phases, "during", quantiles_of(&report->during));
	json_object_set_new(phases, "after", quantiles_of(&report->after));
	json_object_set_new(object, "rtt_phases_us", phases);
	json_object_set_new(object, "timeline", timeline_of(report));
	return object;
}

json_t *fg_load_report(const struct fg_load *load)
{
	struct report *report = calloc(1, sizeof(*report));
	json_t *object = NULL;

	if (!report)
		return NULL;
	report->load = load;
	while (report->warm < load->sent &&
	       fg_load_due_ns(load, report->warm) < load->config->warmup_ns)
		report->warm++;
	fg_histogram_reset(&report->all);
	fg_histogram_reset(&report->steady);
	fg_histogram_reset(&report->before);
	fg_histogram_reset(&report->during);
	fg_histogram_reset(&report->after);
	find_flips(report);
	sort_samples(report);
	if (find_flows(report) == 0)
		object = build(report);
	free(report->flows);
	free(report);
	return object;
}

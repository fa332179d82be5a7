#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "tests/bench/kernels/numbers.h"

const char *bench_level(size_t bytes)
{
	static const struct {
		int cache;
		const char *name;
	} levels[] = {{_SC_LEVEL1_DCACHE_SIZE, "L1"},
		      {_SC_LEVEL2_CACHE_SIZE, "L2"},
		      {_SC_LEVEL3_CACHE_SIZE, "L3"}};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (sysconf(levels[i].cache) >= (long)bytes)
			return levels[i].name;
	return "memory";
}

void bench_peak(const struct bench_contestant *peak, const struct bench_loops *loops,
		double ns_per_flop[BENCH_REPEATS])
{
	double flops = 2.0 * loops->lanes * (BENCH_PEAK_COUNT / loops->chains * loops->chains);

	for (uint32_t i = 0; i < BENCH_REPEATS; i++)
		ns_per_flop[i] = peak->ns[i] / flops;
}

/* What the machine needs at least for a batch, in every repeat. */
struct roof {
	double flops_ns[BENCH_REPEATS]; /* all multiply-adds at the peak */
	double loads_ns[BENCH_REPEATS]; /* reading the weights once */
	const char *level;		/* that they are read from */
	double bytes;
};

static void get_roof(const struct bench_field *field, enum fg_weights format, uint32_t rows,
		     struct roof *roof)
{
	double flops = 2.0 * (double)bench_model_weights(&field->model) * rows;

	bench_peak(&field->contestants[BENCH_PEAK], field->loops, roof->flops_ns);
	for (uint32_t i = 0; i < BENCH_REPEATS; i++)
		roof->flops_ns[i] *= flops;
	bench_fastest(field->contestants[BENCH_LOAD + format].ns,
		      field->contestants[BENCH_LOAD_TWO + format].ns, roof->loads_ns);
	roof->bytes = (double)bench_weight_bytes(&field->model, format);
	roof->level = bench_level((size_t)roof->bytes);
}

void bench_roof(const struct bench_field *field, enum fg_weights format, uint32_t rows,
		double roof_ns[BENCH_REPEATS])
{
	struct roof roof;

	get_roof(field, format, rows, &roof);
	for (uint32_t i = 0; i < BENCH_REPEATS; i++)
		roof_ns[i] = format == FG_WEIGHTS_INT8 ? roof.loads_ns[i]
						       : fmax(roof.loads_ns[i], roof.flops_ns[i]);
}

/* The shares of the time that loads and multiply-adds would take at full speed: the larger is what
 * bounds it, when it is most of the time. */
static void say_bound(struct bench_number *number, const struct bench_field *field,
		      enum fg_weights format, uint32_t rows, enum bench_entry entry)
{
	const double *ns = field->contestants[entry].ns;
	char *bound = number->bound;
	double loads, flops;
	struct roof roof;

	get_roof(field, format, rows, &roof);
	loads = 100 * bench_ratio(roof.loads_ns, ns).median;
	flops = 100 * bench_ratio(roof.flops_ns, ns).median;
	if (format == FG_WEIGHTS_INT8)
		snprintf(bound, sizeof(number->bound), "%s: %s loads %.0f %% of the time",
			 loads >= 70 ? "loads" : "instructions", roof.level, loads);
	else if (fmax(loads, flops) < 70)
		snprintf(bound, sizeof(number->bound),
			 "neither alone: %s loads %.0f %%, FMA %.0f %%", roof.level, loads, flops);
	else if (loads >= flops)
		snprintf(bound, sizeof(number->bound), "%s loads, at %.0f %% of peak", roof.level,
			 loads);
	else
		snprintf(bound, sizeof(number->bound), "FMA, at %.0f %% of peak", flops);
}

/* Entry's time for `rows` rows over against_ns, in us. */
static void fill(struct bench_number *number, const struct bench_field *field,
		 enum bench_entry entry, enum fg_weights format, uint32_t rows,
		 const double against_ns[BENCH_REPEATS])
{
	const double *ns = field->contestants[entry].ns;
	double roof_ns[BENCH_REPEATS];

	number->on = field->model.name;
	number->unit = "us";
	number->value = bench_spread(ns).median / 1e3;
	number->reference = bench_spread(against_ns).median / 1e3;
	number->ratio = bench_ratio(ns, against_ns);
	bench_roof(field, format, rows, roof_ns);
	number->limit = bench_ratio(roof_ns, against_ns).median;
	say_bound(number, field, format, rows, entry);
	if (!field->contestants[entry].run)
		memcpy(number->why, field->why[entry], BENCH_WHY_BYTES);
}

static struct bench_number roofline(const struct bench_field *field)
{
	struct bench_number number = {.row = 1, .what = "1 row / roofline"};
	double roof_ns[BENCH_REPEATS];
	struct roof roof;
	double loads_ns;

	get_roof(field, FG_WEIGHTS_F32, 1, &roof);
	bench_roof(field, FG_WEIGHTS_F32, 1, roof_ns);
	fill(&number, field, BENCH_F32_1, FG_WEIGHTS_F32, 1, roof_ns);
	loads_ns = bench_spread(roof.loads_ns).median;
	if (loads_ns >= bench_spread(roof.flops_ns).median)
		snprintf(number.against, sizeof(number.against), "%s loads, %.0f GB/s", roof.level,
			 roof.bytes / loads_ns);
	else
		snprintf(number.against, sizeof(number.against), "FMA peak");
	number.aim = strcmp(field->model.name, "C") == 0 ? 1.15 : 1.25;
	return number;
}

static struct bench_number over_onnxruntime(const struct bench_field *field)
{
	struct bench_number number = {.row = 2, .what = "1 row / onnxruntime"};
	uint32_t entry = BENCH_WAY_1 + BENCH_ONNXRUNTIME;

	fill(&number, field, BENCH_F32_1, FG_WEIGHTS_F32, 1, field->contestants[entry].ns);
	snprintf(number.against, sizeof(number.against), "onnxruntime");
	if (!number.why[0])
		memcpy(number.why, field->why[entry], BENCH_WHY_BYTES);
	number.aim = strcmp(field->model.name, "C") == 0 ? 0.80 : 0.40;
	return number;
}

static struct bench_number over_peak(const struct bench_field *field)
{
	struct bench_number number = {.row = 3,
				      .what = "32 rows / FMA peak",
				      .against = "FMA peak",
				      .aim = 0.90,
				      .at_least = true};
	double flops = 2.0 * (double)bench_model_weights(&field->model) * BENCH_MAX_ROWS;
	struct roof roof;

	get_roof(field, FG_WEIGHTS_F32, BENCH_MAX_ROWS, &roof);
	fill(&number, field, BENCH_F32_32, FG_WEIGHTS_F32, BENCH_MAX_ROWS, roof.flops_ns);
	number.ratio = bench_ratio(roof.flops_ns, field->contestants[BENCH_F32_32].ns);
	number.limit = 1 / number.limit;
	number.unit = "GFLOPS";
	number.value = flops / (number.value * 1e3);
	number.reference = flops / (number.reference * 1e3);
	return number;
}

static struct bench_number over_best(const struct bench_field *field,
				     const struct bench_plugins *plugins)
{
	struct bench_number number = {.row = 4, .what = "32 rows / best library", .aim = 0.85};
	const struct bench_contestant *ways = &field->contestants[BENCH_WAY_32];
	double best_ns[BENCH_REPEATS], best = INFINITY;

	memcpy(best_ns, ways[0].ns, sizeof(best_ns));
	snprintf(number.against, sizeof(number.against), "none");
	for (uint32_t way = 0; way < BENCH_REFERENCES; way++) {
		double median = bench_spread(ways[way].ns).median;

		bench_fastest(best_ns, ways[way].ns, best_ns);
		if (median < best) {
			best = median;
			snprintf(number.against, sizeof(number.against), "%s",
				 plugins->ways[way].name);
		}
	}
	fill(&number, field, BENCH_F32_32, FG_WEIGHTS_F32, BENCH_MAX_ROWS, best_ns);
	if (isinf(best))
		snprintf(number.why, BENCH_WHY_BYTES, "no library is there to compare with");
	return number;
}

static struct bench_number over_one_row(const struct bench_field *field)
{
	int large = strcmp(field->model.name, "C") == 0;
	enum bench_entry entry = large ? BENCH_F32_3 : BENCH_F32_2;
	struct bench_number number = {.row = 5,
				      .what = large ? "3 rows / 1 row" : "2 rows / 1 row",
				      .against = "1 row",
				      .aim = large ? 1.20 : 1.10};

	fill(&number, field, entry, FG_WEIGHTS_F32, large ? 3 : 2,
	     field->contestants[BENCH_F32_1].ns);
	return number;
}

static struct bench_number over_f32(const struct bench_field *field, enum fg_weights format)
{
	enum bench_entry entry = format == FG_WEIGHTS_BF16 ? BENCH_BF16_1 : BENCH_INT8_1;
	struct bench_number number = {.row = 6,
				      .what = format == FG_WEIGHTS_BF16 ? "bf16 / f32, 1 row"
									: "int8 / f32, 1 row",
				      .against = "f32",
				      .aim = format == FG_WEIGHTS_BF16 ? 0.58 : 0.32};

	fill(&number, field, entry, format, 1, field->contestants[BENCH_F32_1].ns);
	return number;
}

static struct bench_number over_math(const struct bench_function_field *field,
				     enum bench_function function,
				     const struct bench_plugins *plugins)
{
	struct bench_number number = {.row = 7,
				      .what = "per element / SLEEF",
				      .unit = "ns",
				      .aim = function == BENCH_TANH ? 0.5 : NAN,
				      .limit = NAN};
	const double *ours = field->contestants[BENCH_FUNCTION_OURS].ns;
	const double *theirs = field->contestants[BENCH_FUNCTION_THEIRS].ns;
	const struct bench_loops *loops = plugins->loops;
	double peak[BENCH_REPEATS];

	number.on = bench_function_names[function];
	number.value = bench_spread(ours).median / BENCH_FUNCTION_COUNT;
	number.reference = bench_spread(theirs).median / BENCH_FUNCTION_COUNT;
	number.ratio = bench_ratio(ours, theirs);
	snprintf(number.against, sizeof(number.against), "%s",
		 plugins->math ? plugins->math->name : "SLEEF");
	memcpy(number.why, plugins->math_why, BENCH_WHY_BYTES);
	/* ns per flop -> per multiply-add of a number. */
	bench_peak(&field->contestants[BENCH_FUNCTION_PEAK], loops, peak);
	for (uint32_t i = 0; i < BENCH_REPEATS; i++)
		peak[i] *= 2 * BENCH_FUNCTION_COUNT;
	snprintf(number.bound, sizeof(number.bound),
		 "instructions: time of %.0f FMAs; %.2f ULP, theirs %.2f",
		 bench_ratio(ours, peak).median, field->ulp[BENCH_FUNCTION_OURS],
		 field->ulp[BENCH_FUNCTION_THEIRS]);
	if (!(field->ulp[BENCH_FUNCTION_OURS] <= 2))
		snprintf(number.why, BENCH_WHY_BYTES, "off by %.1f ULP, more than 2",
			 field->ulp[BENCH_FUNCTION_OURS]);
	return number;
}

bool bench_number_met(const struct bench_number *number)
{
	return !number->why[0] && (number->at_least ? number->ratio.median >= number->aim
						    : number->ratio.median <= number->aim);
}

bool bench_number_out_of_reach(const struct bench_number *number)
{
	return number->at_least ? number->aim > number->limit : number->aim < number->limit;
}

uint32_t bench_numbers(const struct bench_field *fields,
		       const struct bench_function_field *functions,
		       const struct bench_plugins *plugins,
		       struct bench_number numbers[BENCH_MAX_NUMBERS])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		numbers[count++] = roofline(&fields[i]);
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		numbers[count++] = over_onnxruntime(&fields[i]);
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		numbers[count++] = over_peak(&fields[i]);
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		numbers[count++] = over_best(&fields[i], plugins);
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		numbers[count++] = over_one_row(&fields[i]);
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		numbers[count++] = over_f32(&fields[i], FG_WEIGHTS_BF16);
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		numbers[count++] = over_f32(&fields[i], FG_WEIGHTS_INT8);
	for (uint32_t i = 0; i < BENCH_FUNCTIONS; i++)
		numbers[count++] = over_math(&functions[i], (enum bench_function)i, plugins);
	return count;
}

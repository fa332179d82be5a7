/* flipgate verify: does a model give these outputs for these inputs? */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "models/cpu.h"
#include "models/golden.h"
#include "models/plan.h"
#include "tools/cli_common.h"
#include "tools/cli_matrix.h"
#include "tools/cli_plan.h"

static const char help[] =
	"Usage: flipgate verify MODEL [INPUTS OUTPUTS] [OPTION]...\n"
	"\n"
	"Runs MODEL (.onnx, .h5, .keras, a version's directory or a plan) on the rows of INPUTS\n"
	"with every kind of kernels that this CPU has, and compares with the rows of OUTPUTS "
	"(.npy\n"
	"or .csv, one row per line; \"-\" is stdin). Several inputs or outputs of a model stand "
	"side\n"
	"by side in a row, in the order that flipgate inspect shows. Without INPUTS and OUTPUTS "
	"the\n"
	"golden rows of the version are run. Exits with 2 when an output is off by more than\n"
	"tolerance * (1 + |wanted|), with 5 when something cannot be read or served.\n"
	"\n"
	"  -t, --tolerance T   default 1e-4\n"
	"  -w, --weights TYPE  with f32, bf16 or int8 weights\n"
	"      --output TYPE   text (default) or json\n"
	"\n"
	"Examples:\n"
	"  flipgate verify model.onnx inputs.npy outputs.npy\n"
	"  flipgate verify models/digits/2 inputs.csv outputs.csv --weights int8 --tolerance "
	"0.02\n";

struct verify {
	struct fg_cli_plan bytes;
	struct fg_matrix inputs, outputs; /* data NULL: the golden rows */
	double tolerance;
	bool json;
};

/* The worst output of one kind of kernels. */
struct worst {
	double off; /* |got - wanted| / (1 + |wanted|); infinite when only one is a number */
	size_t row;
	uint32_t col;
	float got, wanted;
};

static double distance(float got, float wanted)
{
	if (got == wanted || (isnan(got) && isnan(wanted)))
		return 0;
	if (!isfinite(got) || !isfinite(wanted))
		return INFINITY;
	return fabs((double)got - wanted) / (1 + fabs((double)wanted));
}

static struct worst find_worst(const struct verify *verify, const float *got)
{
	const float *wanted = verify->outputs.data;
	uint32_t cols = verify->outputs.cols;
	struct worst worst = {.off = -1};

	for (size_t i = 0; i < verify->outputs.rows * cols; i++) {
		double off = distance(got[i], wanted[i]);

		if (off > worst.off)
			worst = (struct worst){off, i / cols, (uint32_t)(i % cols), got[i],
					       wanted[i]};
	}
	return worst;
}

/* The first row that the model refuses: there is nothing to compare. */
static int refused(const struct verify *verify, const struct fg_plan *plan,
		   const struct fg_plan_refusal *refusals, struct fg_error *error)
{
	const float *in = verify->inputs.data;
	char why[128];
	size_t row = 0;

	while (!refusals[row].step)
		row++;
	fg_plan_refusal_text(plan, &refusals[row], in + row * plan->in_cols, why, sizeof(why));
	return fg_error_set(error, -EINVAL, "row %zu: the model refuses it: %s", row, why);
}

static int run_rows(const struct verify *verify, const struct fg_plan *plan, struct worst *worst,
		    struct fg_error *error)
{
	const size_t rows = verify->inputs.rows;
	float *got = malloc(rows * plan->out_cols * sizeof(*got));
	struct fg_plan_refusal *refusals = malloc(rows * sizeof(*refusals));
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, (uint32_t)rows) + 64);
	int result = 0;

	if (!got || !scratch || !refusals)
		result = fg_error_set(error, -ENOMEM, "%zu rows do not fit in memory", rows);
	else if (fg_plan_try(plan, verify->inputs.data, (uint32_t)rows, got, scratch, refusals))
		result = refused(verify, plan, refusals, error);
	else
		*worst = find_worst(verify, got);
	free(got);
	free(refusals);
	free(scratch);
	return result;
}

static int check_shapes(const struct verify *verify, const struct fg_plan *plan,
			struct fg_error *error)
{
	const struct fg_matrix *inputs = &verify->inputs, *outputs = &verify->outputs;

	if (inputs->rows != outputs->rows || inputs->rows > UINT32_MAX)
		return fg_error_set(error, -EINVAL, "%zu rows of inputs, %zu of outputs",
				    inputs->rows, outputs->rows);
	if (inputs->cols != plan->in_cols || outputs->cols != plan->out_cols)
		return fg_error_set(error, -EINVAL,
				    "inputs (rows, %u) and outputs (rows, %u): the model takes "
				    "(rows, %u) to (rows, %u)",
				    inputs->cols, outputs->cols, plan->in_cols, plan->out_cols);
	return 0;
}

/* Worst of the golden rows: all that is known is whether they are within their tolerance. */
static int run_golden(const struct fg_plan *plan, struct fg_error *error)
{
	void *scratch = aligned_alloc(64, (fg_plan_golden_scratch_bytes(plan) + 127) / 64 * 64);
	int result;

	if (!scratch)
		return fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	result = fg_plan_check_golden(plan, scratch, error);
	free(scratch);
	return result;
}

static void print_worst(const struct verify *verify, const char *isa, const struct worst *worst,
			bool first)
{
	bool good = worst->off <= verify->tolerance;

	if (verify->json) {
		printf("%s{\"kernels\":\"%s\",\"ok\":%s,\"row\":%zu,\"col\":%u,\"off\":",
		       first ? "" : ",", isa, good ? "true" : "false", worst->row, worst->col);
		printf(isfinite(worst->off) ? "%.6g}" : "null}", worst->off);
		return;
	}
	printf("%-8s %zu rows, %s%s%s: worst %.3g at row %zu, column %u (got %.9g, wanted %.9g)\n",
	       isa, verify->inputs.rows, fg_cli_style(good ? FG_CLI_GREEN : FG_CLI_RED),
	       good ? "ok" : "off", fg_cli_style(FG_CLI_PLAIN), worst->off, worst->row, worst->col,
	       worst->got, worst->wanted);
}

/* One kind of kernels. 0 with *good; -errno with *error. */
static int verify_one(const struct verify *verify, const struct fg_kernels *kernels, bool first,
		      bool *good, struct fg_error *error)
{
	struct worst worst = {.off = 0};
	struct fg_plan plan;
	int result =
		fg_plan_open_with(&plan, kernels, verify->bytes.bytes, verify->bytes.size, error);

	if (!result && !verify->inputs.data) {
		result = run_golden(&plan, error);
		*good = !result;
		if (result && result != -EILSEQ)
			return result;
		if (verify->json)
			printf("%s{\"kernels\":\"%s\",\"ok\":%s}", first ? "" : ",", kernels->isa,
			       *good ? "true" : "false");
		else
			printf("%-8s %u golden rows: %s\n", kernels->isa, plan.golden_rows,
			       *good ? "ok" : error->text);
		return 0;
	}
	if (!result)
		result = check_shapes(verify, &plan, error);
	if (!result)
		result = run_rows(verify, &plan, &worst, error);
	if (result)
		return result;
	print_worst(verify, kernels->isa, &worst, first);
	*good = worst.off <= verify->tolerance;
	return 0;
}

static int verify_all(const struct verify *verify, bool *good, struct fg_error *error)
{
	const struct fg_kernels *kernels;
	int result = 0;

	*good = true;
	if (verify->json)
		printf("{\"tolerance\":%g,\"runs\":[", verify->tolerance);
	for (size_t i = 0; !result && (kernels = fg_cpu_kernels(i)); i++) {
		bool one = false;

		result = verify_one(verify, kernels, i == 0, &one, error);
		*good &= one;
	}
	if (verify->json)
		printf("],\"ok\":%s}\n", *good && !result ? "true" : "false");
	return result;
}

static int read_rows(struct fg_matrix *matrix, const char *path, struct fg_error *error)
{
	int result = fg_matrix_read(matrix, path, FG_CSV_HEADER_AUTO, error);

	return result ? result : fg_matrix_convert(matrix, FG_DTYPE_F32, error);
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	static const struct option options[] = {{"weights", required_argument, NULL, 'w'},
						{"tolerance", required_argument, NULL, 't'},
						FG_CLI_OPTIONS};
	struct verify verify = {.tolerance = FG_GOLDEN_TOLERANCE};
	struct fg_cli_output output = {.json = false};
	const char *weights = NULL;
	struct fg_error error;
	bool good = false;
	int option, code;

	while ((option = getopt_long(argc, argv, "w:t:", options, NULL)) != -1) {
		code = -1;
		if (option == 'w')
			weights = optarg;
		else if (option == 't')
			code = fg_cli_double(verb, "--tolerance", optarg, 0, 1e30,
					     &verify.tolerance)
				       ? FG_CLI_USAGE
				       : -1;
		else
			code = fg_cli_option(verb, option, optarg, &output);
		if (code >= 0)
			return code;
	}
	if (argc - optind != 1 && argc - optind != 3)
		return fg_cli_usage(verb, "want MODEL, or MODEL INPUTS OUTPUTS");
	verify.json = output.json;
	code = fg_cli_plan_open(&verify.bytes, argv[optind], weights, &error);
	if (!code && argc - optind == 3)
		code = read_rows(&verify.inputs, argv[optind + 1], &error);
	if (!code && argc - optind == 3)
		code = read_rows(&verify.outputs, argv[optind + 2], &error);
	if (!code)
		code = verify_all(&verify, &good, &error);
	fg_matrix_free(&verify.inputs);
	fg_matrix_free(&verify.outputs);
	fg_cli_plan_close(&verify.bytes);
	if (code)
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s", error.text);
	return good ? FG_CLI_OK : FG_CLI_REFUSED;
}

const struct fg_cli_verb fg_cli_verify = {
	.name = "verify",
	.summary = "run a model on rows and compare with what must come out",
	.help = help,
	.run = run,
};

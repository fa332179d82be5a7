/*
 * Runs a fuzz target without libFuzzer, so that `make check` holds what fuzzing has found:
 * build/tests/fuzz/replay_NAME feeds tests/fuzz/corpus/NAME/ to fuzz_NAME.c, and then mutants of
 * those files, the same ones each time. TAP. A crash ends the program; the last line of its
 * output says on what.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_FILES      4096
#define MAX_FILE_BYTES (1 << 20)
#define MUTANTS	       20000 /* of all files together */
#define MAX_MUTATIONS  8     /* in one mutant */
#define MUTANT_SECONDS 10    /* of CPU time; slow targets see fewer mutants */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* A target that is slow may define it: how many mutants are enough. */
extern const size_t fuzz_mutants __attribute__((weak));

struct file {
	char name[256];
	uint8_t *bytes;
	size_t length;
};

static struct file files[MAX_FILES];
static size_t file_count;

/* xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016. */
static uint64_t random_below(uint64_t *state, uint64_t bound)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * 0x2545f4914f6cdd1d >> 11) % bound;
}

static int read_file(const char *folder, const char *name)
{
	struct file *file = &files[file_count];
	char path[1024];
	FILE *from;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	snprintf(file->name, sizeof(file->name), "%s", name);
	from = fopen(path, "rb");
	file->bytes = malloc(MAX_FILE_BYTES);
	if (!from || !file->bytes) {
		perror(path);
		return -1;
	}
	file->length = fread(file->bytes, 1, MAX_FILE_BYTES, from);
	fclose(from);
	file->bytes = realloc(file->bytes, file->length ? file->length : 1);
	file_count++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static int read_corpus(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int result = 0;

	if (!dir) {
		perror(folder);
		return -1;
	}
	while (!result && file_count < MAX_FILES && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			result = read_file(folder, entry->d_name);
	closedir(dir);
	qsort(files, file_count, sizeof(*files), by_name);
	return result;
}

/* Feeds a copy that ends where its memory ends, so that AddressSanitizer sees a read beyond. */
static void feed(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);

	if (!copy)
		abort();
	memcpy(copy, bytes, length);
	LLVMFuzzerTestOneInput(copy, length);
	free(copy);
}

/* Changes bytes (length, room for MAX_FILE_BYTES) in one place; returns the new length. */
static size_t mutate(uint8_t *bytes, size_t length, uint64_t *state)
{
	static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '0', '\n'};
	const struct file *other = &files[random_below(state, file_count)];
	size_t at, count;

	if (length == 0)
		return 0;
	at = random_below(state, length);
	switch (random_below(state, 6)) {
	case 0:
		bytes[at] ^= 1 << random_below(state, 8);
		break;
	case 1:
		bytes[at] = edges[random_below(state, sizeof(edges))];
		break;
	case 2: /* cut */
		return at;
	case 3: /* an integer of four bytes at the edge of its range */
		count = length - at < 4 ? length - at : 4;
		memset(bytes + at, random_below(state, 2) ? 0xff : 0, count);
		break;
	case 4: /* repeat the rest */
		count = length - at;
		if (length + count > MAX_FILE_BYTES)
			return length;
		memcpy(bytes + length, bytes + at, count);
		return length + count;
	default: /* go on as another file does */
		if (at >= other->length)
			return at;
		memcpy(bytes + at, other->bytes + at, other->length - at);
		return other->length;
	}
	return length;
}

static size_t feed_mutants(const struct file *file, size_t wanted, uint8_t *room, uint64_t *state)
{
	const clock_t end = MUTANT_SECONDS * (clock_t)CLOCKS_PER_SEC;
	size_t length, done;

	printf("# mutants of %s\n", file->name);
	for (done = 0; done < wanted && clock() < end; done++) {
		memcpy(room, file->bytes, file->length);
		length = file->length;
		for (uint64_t left = 1 + random_below(state, MAX_MUTATIONS); left > 0; left--)
			length = mutate(room, length, state);
		feed(room, length);
	}
	return done;
}

int main(void)
{
	const char *name = strstr(program_invocation_short_name, "replay_");
	static uint8_t room[MAX_FILE_BYTES];
	uint64_t state = 20;
	const size_t wanted = &fuzz_mutants ? fuzz_mutants : MUTANTS;
	size_t mutants = 0;
	char folder[512];

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("1..2");
	snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name ? name + 7 : "");
	if (read_corpus(folder) || file_count == 0) {
		printf("not ok 1 - %s holds no files\n", folder);
		return 1;
	}
	for (size_t i = 0; i < file_count; i++) {
		printf("# %s\n", files[i].name);
		feed(files[i].bytes, files[i].length);
	}
	printf("ok 1 - %zu files of %s\n", file_count, folder);
	for (size_t i = 0; i < file_count; i++)
		mutants += feed_mutants(&files[i], 1 + wanted / file_count, room, &state);
	printf("%s 2 - %zu mutants of them\n", mutants ? "ok" : "not ok", mutants);
	for (size_t i = 0; i < file_count; i++)
		free(files[i].bytes);
	return mutants ? 0 : 1;
}

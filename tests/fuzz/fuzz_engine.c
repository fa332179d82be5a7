/*
 * Any messages, one length (16 bits, little-endian) before each: those that are requests are
 * answered once, in a reply that parses, no longer than the request and 64 bytes; all others are
 * not.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/protocol/wire.h"
#include "userspace/shared/clock.h"
#include "userspace/worker/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define CAPACITY  4096
#define MOST	  16 /* messages of one input */
#define MAX_BATCH 8

/* Any plan of that corpus will do: they are small. */
#define PLAN "tests/fuzz/corpus/plan/fixture"

static struct fg_engine engine;
static struct fg_stats stats;

static void open_once(void)
{
	static const struct fg_rollout_entry entries[] = {
		{.model = "m", .version = 1},
		{.model = "m", .version = 2, .is_default = 1, .labels = {"stable"}},
		{.model = "other", .version = 7, .is_default = 1},
	};
	struct fg_plan plans[3];
	struct fg_error error = {""};
	FILE *file = fopen(PLAN, "rb");
	void *bytes = aligned_alloc(64, 1 << 20);
	size_t size;

	if (!file || !bytes) {
		perror(PLAN);
		exit(1);
	}
	size = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	for (int i = 0; i < 3; i++)
		if (fg_plan_open(&plans[i], bytes, size, &error)) {
			fprintf(stderr, "%s: %s\n", PLAN, error.text);
			exit(1);
		}
	if (fg_engine_open(&engine, entries, 3, plans, 9, MAX_BATCH, &stats, &error)) {
		fprintf(stderr, "%s\n", error.text);
		exit(1);
	}
}

struct asked {
	uint8_t *bytes;
	uint32_t length;
	uint32_t done; /* times */
};

static void note_done(struct asked *asked)
{
	struct fg_wire_header header;

	for (uint32_t i = 0; i < engine.done_count; i++) {
		const struct fg_message *message = engine.done[i];
		struct asked *one = &asked[message->tag];

		one->done++;
		if (!message->length)
			continue;
		if (message->length > one->length + FG_WIRE_AMPLIFICATION ||
		    message->length > message->capacity ||
		    fg_wire_parse_reply(message->bytes, message->length, &header))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fg_message messages[MOST];
	struct asked asked[MOST];
	uint32_t count = 0;
	size_t at = 0;

	if (!engine.model_count)
		open_once();
	for (; count < MOST && at + 2 <= length; count++) {
		size_t size = bytes[at] | (size_t)bytes[at + 1] << 8;

		at += 2;
		if (size > length - at)
			size = length - at;
		if (size > CAPACITY)
			size = CAPACITY;
		asked[count] = (struct asked){.bytes = malloc(CAPACITY), .length = (uint32_t)size};
		if (!asked[count].bytes)
			abort();
		memcpy(asked[count].bytes, bytes + at, size);
		messages[count] = (struct fg_message){.bytes = asked[count].bytes,
						      .length = (uint32_t)size,
						      .capacity = CAPACITY,
						      .arrived_ns = fg_clock_ns(),
						      .tag = count};
		at += size;
	}
	fg_engine_begin(&engine, messages, count, fg_clock_ns());
	note_done(asked);
	while (fg_engine_step(&engine))
		note_done(asked);
	while (fg_share_waiting(&engine.share))
		if (fg_engine_piece(&engine))
			note_done(asked);
	for (uint32_t i = 0; i < count; i++) {
		if (asked[i].done != 1)
			abort();
		free(asked[i].bytes);
	}
	return 0;
}
